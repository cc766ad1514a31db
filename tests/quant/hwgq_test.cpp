#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// E[(q(x) - x)^2] over the positive half of a standard normal, for levels with thresholds halfway between positive
/// ones.
double distortion(const Doubles& levels) {
  double sum = 0;
  constexpr int kSteps = 400000;
  for (int i = 0; i < kSteps; ++i) {
    const double x = (i + 0.5) * 10 / kSteps;
    size_t k = 0;
    while (k + 1 < levels.size() && x > (levels[k] + levels[k + 1]) / 2) ++k;
    sum += (levels[k] - x) * (levels[k] - x) * std::exp(-x * x / 2) * 10 / kSteps;
  }
  return sum;
}

Doubles positive_levels(const Json& json) {
  const Grid grid = make_quantizer(json)->grid();
  const std::vector<float> levels = levels_of(grid, 0);
  REQUIRE(levels[0] == 0.0f);
  return {levels.begin() + 1, levels.end()};
}

}  // namespace

TEST_CASE("hwgq: keeps the promises of a quantizer") {
  const Tensor x = normal_tensor({6, 5, 41, 41}, 1);
  for (const char* rule : {"half_wave", "vanilla", "log_tailed"})
    CHECK(broken_promise({{"type", "hwgq"}, {"backward", rule}}, x) == "");
  for (int bits = 1; bits <= 4; ++bits)
    for (const char* table : {"uniform", "nonuniform"}) {
      const Json json{{"type", "hwgq"}, {"bits", bits}, {"table", table}};
      CHECK(broken_promise(json, x) == "");
      CHECK(breaks_at_edges(json) == "");
      CHECK(level_count(make_quantizer(json)->grid()) == 1 << bits);
    }
  const Json weight{{"type", "hwgq"}, {"role", "weight"}};
  CHECK(broken_promise(weight, x) == "");
  CHECK(breaks_at_edges(weight) == "");
}

TEST_CASE("hwgq: the worked example of the released 2-bit table") {
  const Tensor x = Tensor::of({-0.5f, 0, 0.01f, 0.3f, 0.8f, 0.808f, 1, 1.34f, 1.35f, 1.7f});
  const Doubles expected{0, 0, 0.538, 0.538, 0.538, 1.076, 1.076, 1.076, 1.614, 1.614};
  CHECK(compare(run_layer({{"type", "hwgq"}}, x), expected, 1e-7) == "");
}

TEST_CASE("hwgq: own levels, the released non-uniform pair") {
  const Json json{{"type", "hwgq"}, {"levels", {0.453, 1.51}}};
  const Tensor x = Tensor::of({-1, 0, 1e-6f, 0.98f, 0.982f, 5});
  CHECK(compare(run_layer(json, x), {0, 0, 0.453, 0.453, 1.51, 1.51}, 1e-7) == "");
  for (const Json& wrong : {Json{1.0, 1.0}, Json{0.5, 0.25}})
    CHECK(mentions(message_of([&] { make_layer({{"type", "hwgq"}, {"levels", wrong}}); }), {"ascend"}));
  CHECK(message_of([] { make_layer({{"type", "hwgq"}, {"levels", {0.0, 1.0}}}); }) != "");
}

TEST_CASE("hwgq: the tables are optimal for half a normal distribution") {
  for (int bits = 1; bits <= 4; ++bits) {
    CAPTURE(bits);
    const Doubles uniform = positive_levels({{"type", "hwgq"}, {"bits", bits}});
    const Doubles lloyd = positive_levels({{"type", "hwgq"}, {"bits", bits}, {"table", "nonuniform"}});
    REQUIRE(uniform.size() == (size_t{1} << bits) - 1);
    const double best = distortion(uniform), least = distortion(lloyd);
    CHECK(least <= best * 1.00001);
    for (const double stretch : {0.98, 1.02}) {
      Doubles other = uniform;
      for (double& level : other) level *= stretch;
      CHECK(distortion(other) > best);
    }
    for (size_t k = 0; k < lloyd.size(); ++k)
      for (const double shift : {-0.01, 0.01}) {
        Doubles other = lloyd;
        other[k] += shift;
        CHECK(distortion(other) > least);
      }
    for (size_t k = 0; k < uniform.size(); ++k)
      CHECK(uniform[k] == doctest::Approx(uniform[0] * static_cast<double>(k + 1)).epsilon(1e-6));
  }
}

TEST_CASE("hwgq: the three backward approximations") {
  const Tensor x = Tensor::of({-1, 0, 0.001f, 0.9f, 1.614f, 1.7f, 4}), dy = normal_tensor({7}, 4);
  const double top = 1.614;
  for (const std::string rule : {"", "half_wave", "vanilla", "log_tailed"}) {
    CAPTURE(rule);
    Json json{{"type", "hwgq"}};
    if (!rule.empty()) json["backward"] = rule;
    const Passed passed = train_pass(*make_layer(json), x, dy);
    Doubles expected;
    for (size_t i = 0; i < 7; ++i) {
      const double v = x.data<float>()[i];
      double slope = v > 0 ? 1 : 0;
      if (v > top + 1e-6) slope = rule == "vanilla" ? 1 : rule == "log_tailed" ? 1 / (v - (top - 1)) : 0;
      expected.push_back(slope * dy.data<float>()[i]);
    }
    CHECK(compare(passed.dx, expected, 1e-6) == "");
  }
}

TEST_CASE("hwgq: weights are those of a binary-weight network with an unscaled gradient and no constraint") {
  const auto q = make_quantizer({{"type", "hwgq"}, {"role", "weight"}});
  const Tensor w = example_weights().view({1, 7}), dy = normal_tensor({1, 7}, 3), kept = w.clone();
  const Passed passed = train_pass(*q, w, dy);
  const double a = 0.40714286;
  CHECK(compare(passed.y, {-a, -a, -a, a, a, a, a}, 1e-7) == "");
  CHECK(same_bits(passed.dx, dy));
  q->constrain(w);
  CHECK(same_bits(w, kept));
}
