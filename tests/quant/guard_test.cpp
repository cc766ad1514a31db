#include <algorithm>
#include <cmath>
#include <set>

#include "optim/optimizer.h"
#include "tests/quant/quantizer_subjects.h"
#include "third_party/doctest.h"

/// What is learned beside the weights stays usable whatever the optimizer does to it.
namespace nibble {
namespace {

using test::NamedSubject;
using test::StateList;

/// A gradient for the output y that drives the scale of y somewhere.
struct Push {
  const char* name;
  void (*upstream)(std::span<const float> y, int step, std::span<float> dy);
};

template <class F>
void fill(std::span<const float> y, std::span<float> dy, F&& f) {
  std::ranges::transform(y, dy.begin(), f);
}

constexpr Push kPushes[] = {
    {"to zero and beyond", [](auto y, int, auto dy) { fill(y, dy, [](float v) { return 1e4f * v; }); }},
    {"to infinity", [](auto y, int, auto dy) { fill(y, dy, [](float v) { return -1e4f * v; }); }},
    {"to and fro",
     [](auto y, int step, auto dy) { fill(y, dy, [=](float v) { return step % 2 ? -1e30f * v : 1e30f * v; }); }},
    {"by constants", [](auto y, int step, auto dy) { fill(y, dy, [=](float) { return step % 2 ? -1e30f : 1e30f; }); }},
    {"out of range", [](auto y, int, auto dy) { fill(y, dy, [](float v) { return v > 0 ? 3e38f : -3e38f; }); }},
};

std::shared_ptr<Optimizer> optimizer_for(const Json& options, Quantizer& q) {
  const auto optimizer = Registry<Optimizer>::get().make(Config(options));
  std::vector<Param> params;
  for (const auto& [name, tensor] : StateList(q).params) params.push_back({name, tensor});
  if (!params.empty()) optimizer->attach(params);
  return optimizer;
}

bool all_positive(std::span<const float> values) {
  return std::ranges::all_of(values, [](float v) { return v > 0 && v < INFINITY; });
}

/// "" or what is wrong with the state or the grid.
std::string complaint(Quantizer& q, const test::Subject& subject, const Tensor& x) {
  for (const auto& [name, tensor] : StateList(q).all()) {
    if (tensor.dtype() != DType::f32) continue;
    for (const float v : tensor.data<float>())
      if (!std::isfinite(v)) return concat_text("'", name, "' holds ", v);
  }
  for (const std::string& what : q.audit_state(Tensor{})) return what;
  const Grid grid = subject.grid(q, x);
  if (std::holds_alternative<Real>(grid)) return "";
  try {
    check_grid(grid, channel_count(grid));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// Trains the quantizer's own parameters on the data; `escaped` says whether one was not positive and finite between an
/// update and the guard.
std::string drive(Quantizer& q, const test::Subject& subject, std::span<const Tensor> data, const Json& options,
                  const Push& push, bool& escaped) {
  const auto optimizer = optimizer_for(options, q);
  for (int step = 0; step < 10; ++step) {
    Tensor x = data[static_cast<size_t>(step) % data.size()].clone();
    x.set_requires_grad();
    zero_grads(optimizer->params());
    Rng rng(7, static_cast<uint64_t>(step));
    const int phase = q.phases() - 1;
    const TrainClock clock{.step = 1'000'000 + step,
                           .total_steps = 2'000'000,
                           .phase = phase,
                           .phases = q.phases(),
                           .lr = optimizer->base_lr(),
                           .lr_share = 0.1};
    const Tensor y = q.forward({&x, 1}, {.mode = Mode::train, .rng = &rng, .step = clock.step, .clock = &clock});
    Tensor dy = Tensor::empty_like(y);
    push.upstream(y.data<float>(), step, dy.mutable_data<float>());
    backward(record("push", Tensor::scalar(0), {y}, [dy](const Tensor&) -> Grads { return {dy}; }));
    if (!optimizer->params().empty()) optimizer->step(optimizer->base_lr());
    for (const auto& [name, param] : StateList(q).params) escaped = escaped || !all_positive(param.data<float>());
    q.after_update();
    if (const std::string wrong = complaint(q, subject, x); !wrong.empty())
      return concat_text("after step ", step, ": ", wrong);
  }
  return "";
}

/// What a network might send through, ordinary and degenerate.
std::vector<std::pair<std::string, std::vector<Tensor>>> streams(const test::Subject& subject) {
  const Shape shape = subject.small_shape();
  const Tensor zeros = Tensor::zeros(shape), ones = Tensor::full(shape, 1), huge = Tensor::full(shape, 1e30f),
               tiny = Tensor::full(shape, 1e-42f), normal = subject.data_of(shape, 3);
  return {{"ordinary data", {normal, subject.data_of(shape, 4)}},
          {"zeros", {zeros}},
          {"ordinary data, then zeros", {normal, zeros, zeros}},
          {"everything", {zeros, normal, huge, tiny, ones, normal}}};
}

}  // namespace

TEST_CASE("guard: no optimizer drives what a registered quantizer learns out of its bounds") {
  const Json optimizers[] = {{{"type", "sgd"}, {"lr", 1e6}, {"momentum", 0.9}},
                             {{"type", "sgd"}, {"lr", 1e30}},
                             {{"type", "adam"}, {"lr", 1e3}}};
  std::set<std::string> escaped_types;
  for (const NamedSubject& named : test::registered_quantizers()) {
    CAPTURE(named.name);
    for (const auto& stream : streams(named.subject)) {
      for (const Push& push : kPushes) {
        for (const Json& options : optimizers) {
          const auto q = named.subject.make(named.subject.small_shape());
          const std::string when = concat_text(stream.first, " pushed ", push.name, " by ", options.dump());
          CAPTURE(when);
          bool escaped = false;
          std::string wrong;
          const std::string thrown =
              test::message_thrown([&] { wrong = drive(*q, named.subject, stream.second, options, push, escaped); });
          CHECK(thrown + wrong == "");
          if (escaped) escaped_types.insert(named.type);
          // What has no parameters is the same for every push.
          if (StateList(*q).params.empty()) break;
        }
        if (StateList(*named.subject.make(named.subject.small_shape())).params.empty()) break;
      }
    }
  }
  // Every method that learns a scale by gradients was driven to where it would not have been usable.
  for (const char* type : {"lsq", "pact", "ttq", "qil", "lq", "abc"}) {
    CAPTURE(std::string(type));
    CHECK(escaped_types.contains(type));
  }
}

}  // namespace nibble
