#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// Li & Liu, in double, for one part of the weights.
Doubles ternary(const Doubles& w, double delta) {
  double sum = 0, count = 0;
  for (const double v : w)
    if (std::abs(v) > delta) {
      sum += std::abs(v);
      count += 1;
    }
  Doubles q;
  for (const double v : w) q.push_back(std::abs(v) > delta ? sum / count * sign_of(v) : 0);
  return q;
}

double mean_magnitude(const Doubles& w) {
  double sum = 0;
  for (const double v : w) sum += std::abs(v);
  return sum / static_cast<double>(w.size());
}

double error_of(const Doubles& w, const Doubles& q) {
  double sum = 0;
  for (size_t i = 0; i < w.size(); ++i) sum += (w[i] - q[i]) * (w[i] - q[i]);
  return sum;
}

/// The least error over all thresholds.
double least_error(const Doubles& w) {
  double least = error_of(w, ternary(w, 0));
  for (const double v : w) least = std::min(least, error_of(w, ternary(w, std::abs(v))));
  return least;
}

}  // namespace

TEST_CASE("twn: keeps the promises of a quantizer") {
  const Tensor w = normal_tensor({6, 5, 41, 41}, 1, 0, 0.1f);
  for (const Json& json : {Json{{"type", "twn"}}, Json{{"type", "twn"}, {"per_channel", true}, {"factor", 0.75}},
                           Json{{"type", "twn"}, {"exact", true}, {"per_channel", true}}}) {
    CHECK(broken_promise(json, w) == "");
    CHECK(breaks_at_edges(json) == "");
  }
}

TEST_CASE("twn: the worked example") {
  const Tensor w = example_weights();
  CHECK(compare(run_layer({{"type", "twn"}}, w), {-0.675, -0.675, 0, 0, 0, 0.675, 0.675}, 1e-7) == "");
  CHECK(compare(run_layer({{"type", "twn"}, {"factor", 0.75}}, w), {-0.8, 0, 0, 0, 0, 0.8, 0.8}, 1e-7) == "");
}

TEST_CASE("twn: values are the paper's, per tensor and per channel, and the gradient passes unchanged") {
  const Tensor w = normal_tensor({4, 3, 5, 5}, 3, 0.02f, 0.3f), dy = normal_tensor({4, 3, 5, 5}, 4);
  for (float& v : w.mutable_data<float>().subspan(75, 75)) v *= 10;
  const Doubles v = doubles_of(w);
  for (const double factor : {0.7, 0.75})
    for (const bool per_channel : {false, true}) {
      const size_t parts = per_channel ? 4 : 1, n = v.size() / parts;
      Doubles expected;
      for (size_t c = 0; c < parts; ++c) {
        const auto begin = v.begin() + static_cast<std::ptrdiff_t>(c * n);
        const Doubles part(begin, begin + static_cast<std::ptrdiff_t>(n));
        for (const double q : ternary(part, factor * mean_magnitude(part))) expected.push_back(q);
      }
      const auto q = make_layer({{"type", "twn"}, {"factor", factor}, {"per_channel", per_channel}});
      const Passed passed = train_pass(*q, w, dy);
      CHECK(compare(passed.y, expected, 1e-6) == "");
      CHECK(same_bits(passed.dx, dy));
    }
}

TEST_CASE("twn: the exact threshold has the least error, and the rule comes close for normal weights") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const Tensor w = normal_tensor({900}, seed, 0, 0.05f);
    const Doubles v = doubles_of(w);
    const double least = least_error(v);
    CHECK(error_of(v, doubles_of(run_layer({{"type", "twn"}, {"exact", true}}, w))) == doctest::Approx(least));
    const double rule = error_of(v, doubles_of(run_layer({{"type", "twn"}}, w)));
    CHECK(rule >= least);
    CHECK(rule < 1.05 * least);
  }
  const Tensor ties = Tensor::of({1, -1, 1, 0.2f, 0.2f, -0.2f, 0});
  CHECK(compare(run_layer({{"type", "twn"}, {"exact", true}}, ties), {1, -1, 1, 0, 0, 0, 0}, 1e-7) == "");
}

TEST_CASE("twn: no weight above the threshold leaves only zeros") {
  const Tensor w = Tensor::of({0.5f, -0.5f});
  CHECK(values_of(run_layer({{"type", "twn"}, {"factor", 1.0}}, w)) == std::vector<float>{0, 0});
  CHECK(values_of(run_layer({{"type", "twn"}}, w)) == std::vector<float>{0.5f, -0.5f});
}

TEST_CASE("twn: a backward rule sees the weights in units of alpha") {
  const Tensor w = example_weights(), dy = Tensor::full({7}, 1);
  const Passed passed = train_pass(*make_layer({{"type", "twn"}, {"backward", "clipped_ste"}}), w, dy);
  CHECK(values_of(passed.dx) == std::vector<float>{0, 1, 1, 1, 1, 1, 0});  // alpha = 0.675
}
