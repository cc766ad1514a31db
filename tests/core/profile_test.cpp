#include "core/profile.h"

#include <set>
#include <thread>

#include "core/ops.h"
#include "core/tape.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;
using profile::Recorder;
using profile::Span;
using profile::Stage;

namespace {

/// The event of an op; fails if there is not exactly one.
profile::Event only(const Recorder& recorder, const std::string& op) {
  profile::Event found;
  int count = 0;
  for (const profile::Event& event : recorder.events())
    if (event.op == op) found = event, ++count;
  CAPTURE(op);
  REQUIRE(count == 1);
  return found;
}

}  // namespace

TEST_CASE("profile: without a recorder on the thread nothing is recorded") {
  CHECK_FALSE(profile::on());
  CHECK_FALSE(bool(Span(Stage::forward, "before")));
  Recorder recorder;
  CHECK(profile::on());
  std::thread([] {
    CHECK_FALSE(profile::on());
    CHECK_FALSE(bool(Span(Stage::forward, "elsewhere")));
  }).join();
  CHECK(recorder.events().empty());
}

TEST_CASE("profile: a recorder ends with its scope, and there is one per thread") {
  {
    Recorder recorder;
    CHECK(mentions(message_of([] { Recorder second; }), {"recorded already"}));
    CHECK(profile::on());
  }
  CHECK_FALSE(profile::on());
  Recorder again;
  CHECK(again.events().empty());
}

TEST_CASE("profile: a span's own time is without the spans inside, whose layer continues its own") {
  Recorder recorder;
  {
    Span outer(Stage::other, "step");
    {
      Span teacher(Stage::forward, "teacher", "teacher");
      Span conv(Stage::forward, "conv2d", "conv1");
      Span inner(Stage::quantizer, "lsq");
      CHECK(profile::place().layer == "teacher/conv1");
      CHECK(profile::place().stage == Stage::quantizer);
    }
    Span last(Stage::loss, "loss");
  }
  REQUIRE(recorder.events().size() == 5);
  const profile::Event step = only(recorder, "step"), teacher = only(recorder, "teacher"),
                       conv = only(recorder, "conv2d"), lsq = only(recorder, "lsq"), loss = only(recorder, "loss");
  CHECK(step.layer.empty());
  CHECK(teacher.layer == "teacher");
  CHECK(conv.layer == "teacher/conv1");
  CHECK(lsq.layer == "teacher/conv1");
  CHECK(loss.layer.empty());
  CHECK(std::vector<int>{step.depth, teacher.depth, conv.depth, lsq.depth, loss.depth} ==
        std::vector<int>{0, 1, 2, 3, 1});
  const auto length = [](const profile::Event& e) { return e.end - e.begin; };
  CHECK(step.own == length(step) - length(teacher) - length(loss));
  CHECK(teacher.own == length(teacher) - length(conv));
  CHECK(lsq.own == length(lsq));
  CHECK(lsq.begin >= conv.begin);
  CHECK(lsq.end <= conv.end);
}

TEST_CASE("profile: bytes are said once, by the inner span") {
  Recorder recorder;
  {
    Span outer(Stage::forward, "outer");
    outer.note({.bytes = 100, .shapes = "[1]"});
    {
      Span silent(Stage::forward, "silent");
      Span inner(Stage::forward, "inner");
      inner.note({.flop = 3, .bytes = 40, .kernel = "k"});
    }
  }
  CHECK(only(recorder, "inner").work.bytes == 40);
  CHECK(only(recorder, "inner").work.flop == 3);
  CHECK(only(recorder, "inner").work.kernel == "k");
  CHECK(only(recorder, "silent").work.bytes == 0);
  CHECK(only(recorder, "outer").work.bytes == 0);
  CHECK(only(recorder, "outer").work.shapes == "[1]");
}

TEST_CASE("profile: clearing forgets what was seen, but not inside a span") {
  Recorder recorder;
  { Span span(Stage::data, "first"); }
  recorder.clear();
  CHECK(recorder.events().empty());
  {
    Span span(Stage::data, "second");
    CHECK(mentions(message_of([&] { recorder.clear(); }), {"second"}));
  }
  CHECK(only(recorder, "second").stage == Stage::data);
}

TEST_CASE("profile: an op's backward belongs to the layer that recorded it") {
  const Tensor x = normal_tensor({4, 6}, 1).set_requires_grad();
  Recorder recorder;
  Tensor loss;
  {
    Span span(Stage::quantizer, "act", "relu1");
    loss = sum(relu(x));
  }
  backward(loss);
  const profile::Event event = only(recorder, "relu");
  CHECK(event.layer == "relu1");
  CHECK(event.stage == Stage::quantizer_backward);
  CHECK(event.work.bytes == 3 * 24 * sizeof(float));  // x, dy and dx
}

TEST_CASE("profile: stages have names of their own, and backward stages stay") {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(Stage::other); ++i) {
    const auto stage = static_cast<Stage>(i);
    names.insert(profile::name_of(stage));
    CHECK(profile::backward_of(profile::backward_of(stage)) == profile::backward_of(stage));
  }
  CHECK(names.size() == static_cast<size_t>(Stage::other) + 1);
  CHECK(profile::backward_of(Stage::forward) == Stage::backward);
}
