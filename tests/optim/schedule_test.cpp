#include "optim/schedule.h"

#include <cmath>
#include <numbers>

#include "optim/learning_rate.h"
#include "third_party/doctest.h"

using namespace nibble;

namespace {

/// The rate for base rate 1 when `step` steps of a run of 10 epochs of 4 steps are done.
double rate(const char* schedule, int64_t step, const Warmup& warmup = {}) {
  OptimOptions options;
  options.lr = 1;
  options.schedule = parse_config(schedule, "schedule.json");
  options.warmup = warmup;
  return LearningRate(options).at({step, 4, 40});
}

void refused(const char* schedule, const char* message) {
  CHECK_THROWS_WITH_AS(rate(schedule, 0), doctest::Contains(message), UsageError);
}

}  // namespace

TEST_CASE("schedule: constant, and no schedule at all, keep the base rate") {
  CHECK(rate(R"({"type":"constant"})", 39) == 1);
  CHECK(rate("{}", 39) == 1);
  OptimOptions options;
  options.lr = 0.3;
  options.schedule = Json();
  CHECK(LearningRate(options).at({5, 4, 40}) == 0.3);
}

TEST_CASE("schedule: step drops when every n-th epoch is finished, not a step before") {
  const char* step = R"({"type":"step","epochs":3,"gamma":0.5})";
  CHECK(rate(step, 0) == 1);
  CHECK(rate(step, 11) == 1);
  CHECK(rate(step, 12) == 0.5);
  CHECK(rate(step, 23) == 0.5);
  CHECK(rate(step, 24) == 0.25);
  CHECK(rate(step, 36) == 0.125);
}

TEST_CASE("schedule: multi_step drops when a milestone's epochs are finished") {
  const char* powers = R"({"type":"multi_step","milestones":[2,5.5],"gamma":0.1})";
  CHECK(rate(powers, 7) == 1);
  CHECK(rate(powers, 8) == doctest::Approx(0.1));
  CHECK(rate(powers, 21) == doctest::Approx(0.1));
  CHECK(rate(powers, 22) == doctest::Approx(0.01));
  const char* listed = R"({"type":"multi_step","milestones":[2,5],"factors":[0.3,0.7]})";
  CHECK(rate(listed, 7) == 1);
  CHECK(rate(listed, 8) == 0.3);
  CHECK(rate(listed, 20) == 0.7);
  CHECK(rate(listed, 39) == 0.7);
}

TEST_CASE("schedule: polynomial falls every step to its end") {
  CHECK(rate(R"({"type":"polynomial"})", 10) == 0.75);
  CHECK(rate(R"({"type":"polynomial","power":2})", 10) == doctest::Approx(0.5625));
  CHECK(rate(R"({"type":"polynomial","power":2,"end":0.2})", 10) == doctest::Approx(0.2 + 0.8 * 0.5625));
  CHECK(rate(R"({"type":"polynomial","end":0.2})", 40) == 0.2);
  CHECK(rate(R"({"type":"polynomial","end":0.2,"epochs":5})", 10) == doctest::Approx(0.6));
  CHECK(rate(R"({"type":"polynomial","end":0.2,"epochs":5})", 30) == 0.2);
}

TEST_CASE("schedule: exponential is a staircase unless asked otherwise") {
  const char* stairs = R"({"type":"exponential","gamma":0.5,"epochs":2})";
  CHECK(rate(stairs, 7) == 1);
  CHECK(rate(stairs, 8) == 0.5);
  CHECK(rate(stairs, 16) == 0.25);
  CHECK(rate(R"({"type":"exponential","gamma":0.5,"steps":3})", 2) == 1);
  CHECK(rate(R"({"type":"exponential","gamma":0.5,"steps":3})", 3) == 0.5);
  CHECK(rate(R"({"type":"exponential","gamma":0.25,"epochs":2,"staircase":false})", 4) == doctest::Approx(0.5));
}

TEST_CASE("schedule: cosine goes every step from the base rate to its end") {
  const char* cosine = R"({"type":"cosine"})";
  CHECK(rate(cosine, 0) == 1);
  CHECK(rate(cosine, 1) == doctest::Approx(0.5 * (1 + std::cos(std::numbers::pi / 40))));
  CHECK(rate(cosine, 20) == doctest::Approx(0.5));
  CHECK(rate(cosine, 40) == doctest::Approx(0));
  CHECK(rate(cosine, 50) == doctest::Approx(0));
  CHECK(rate(R"({"type":"cosine","end":0.1})", 20) == doctest::Approx(0.55));
  CHECK(rate(R"({"type":"cosine","end":0.1,"epochs":5})", 10) == doctest::Approx(0.55));
}

TEST_CASE("schedule: warm-up rises every step to what the schedule says, whose clock runs on") {
  CHECK(rate("{}", 0, {.epochs = 2, .from = 0.2}) == 0.2);
  CHECK(rate("{}", 1, {.epochs = 2, .from = 0.2}) == doctest::Approx(0.3));
  CHECK(rate("{}", 7, {.epochs = 2, .from = 0.2}) == doctest::Approx(0.9));
  CHECK(rate("{}", 8, {.epochs = 2, .from = 0.2}) == 1);
  CHECK(rate("{}", 1, {.steps = 4, .from = 0}) == 0.25);
  CHECK(rate("{}", 1, {.epochs = 0.5, .from = 0}) == 0.5);
  const char* step = R"({"type":"step","epochs":1,"gamma":0.5})";
  CHECK(rate(step, 4, {.steps = 8, .from = 0}) == 0.25);
  CHECK(rate(step, 8, {.steps = 8, .from = 0}) == 0.25);
  CHECK(rate(R"({"type":"polynomial"})", 10, {.steps = 20, .from = 0}) == doctest::Approx(0.375));
}

TEST_CASE("schedule: bad options are refused") {
  refused(R"({"type":"cosin"})", "did you mean 'cosine'?");
  refused(R"({"type":"step","gamma":0})", "/gamma");
  refused(R"({"type":"multi_step"})", "'milestones' is missing");
  refused(R"({"type":"multi_step","milestones":[5,5]})", "must ascend");
  refused(R"({"type":"multi_step","milestones":[5,7],"factors":[1]})", "1 factors for 2 milestones");
  refused(R"({"type":"multi_step","milestones":[-1]})", "/milestones/0");
  refused(R"({"type":"exponential"})", "needs the length of a period");
  refused(R"({"type":"exponential","epochs":1,"steps":1})", "needs the length of a period");
  CHECK_THROWS_AS(LearningRate(OptimOptions{}).at({0, 0, 10}), Error);
  CHECK_THROWS_AS(LearningRate(OptimOptions{}).at({0, 1, 0}), Error);
}

TEST_CASE("schedule: every registered one writes what rebuilds it") {
  for (const auto& entry : Registry<Schedule>::get().entries()) {
    const std::string& name = entry.first;
    CAPTURE(name);
    Json json{{"type", name}};
    if (name == "multi_step") json["milestones"] = {3, 4};
    if (name == "exponential") json["steps"] = 3;
    const auto schedule = Registry<Schedule>::get().make(Config(json));
    CHECK(schedule->type() == name);
    Json written = schedule->config();
    written["type"] = name;
    const auto again = Registry<Schedule>::get().make(Config(written));
    for (int64_t step = 0; step < 40; ++step) CHECK(again->factor({step, 4, 40}) == schedule->factor({step, 4, 40}));
  }
}

TEST_CASE("schedule: phases restart another schedule, each in its own clock") {
  // 40 steps in 4 equal phases of 10.
  const char* equal = R"({"type":"phases","count":4,"schedule":{"type":"polynomial"}})";
  for (int64_t step = 0; step < 40; ++step)
    CHECK(rate(equal, step) == doctest::Approx(1 - static_cast<double>(step % 10) / 10));
  // 20 : 10 : 10, and drops after every finished epoch of 4 steps.
  const char* shares = R"({"type":"phases","shares":[2,1,1],"schedule":{"type":"step","epochs":1,"gamma":0.5}})";
  CHECK(rate(shares, 0) == 1);
  CHECK(rate(shares, 19) == 0.0625);
  CHECK(rate(shares, 20) == 1);
  CHECK(rate(shares, 24) == 0.5);
  CHECK(rate(shares, 30) == 1);
  CHECK(rate(shares, 39) == 0.25);
  CHECK(rate(R"({"type":"phases"})", 39) == 1);
}

TEST_CASE("schedule: the phase of a step, and its share of the phase's learning rate") {
  OptimOptions options;
  options.lr = 0.3;
  options.schedule = parse_config(R"({"type":"phases","shares":[3,1],"schedule":{"type":"cosine"}})", "s.json");
  LearningRate rate(options);
  for (const int64_t begin : {int64_t{0}, int64_t{30}}) {
    const int64_t end = begin == 0 ? 30 : 40;
    double sum = 0;
    for (int64_t step = begin; step < end; ++step) {
      const Phase phase = rate.phase({step, 4, 40});
      CHECK(phase.index == (begin == 0 ? 0 : 1));
      CHECK(phase.count == 2);
      CHECK(phase.begin == begin);
      CHECK(phase.end == end);
      const double share = rate.share({step, 4, 40});
      CHECK(share / rate.share({begin, 4, 40}) == doctest::Approx(rate.at({step, 4, 40}) / rate.at({begin, 4, 40})));
      sum += share;
    }
    CHECK(sum == doctest::Approx(1));
  }
  OptimOptions still;
  still.lr = 0;
  LearningRate none(still);
  CHECK(none.share({3, 4, 40}) == 0);
  CHECK(none.phase({3, 4, 40}).end == 40);
}

TEST_CASE("schedule: the last phase comes even in a run shorter than the phases") {
  OptimOptions options;
  options.schedule = parse_config(R"({"type":"phases","count":8})", "s.json");
  const LearningRate rate(options);
  for (int64_t total = 1; total < 30; ++total) {
    CHECK(rate.phase({total - 1, 1, total}).index == 7);
    int before = 0;
    for (int64_t step = 0; step < total; ++step) {
      const Phase phase = rate.phase({step, 1, total});
      CHECK(phase.index >= before);
      CHECK(phase.begin <= step);
      CHECK(step < phase.end);
      before = phase.index;
    }
  }
  refused(R"({"type":"phases","count":0})", "count");
  refused(R"({"type":"phases","shares":[1,0]})", "shares");
  refused(R"({"type":"phases","schedule":{"type":"cosin"}})", "cosin");
}
