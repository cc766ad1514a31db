#include "quant/best_step.h"

#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// Mean squared error by the definition.
double error_of(std::span<const float> x, double step, int lo, int hi) {
  double sum = 0;
  for (const float v : x) {
    const double code = std::clamp<double>(std::nearbyint(static_cast<double>(v) / step), lo, hi);
    sum += (code * step - static_cast<double>(v)) * (code * step - static_cast<double>(v));
  }
  return sum / static_cast<double>(x.size());
}

}  // namespace

TEST_CASE("best_steps: half of a normal distribution has the steps known from the literature") {
  const Tensor x = relu(normal_tensor({1 << 18}, 3));
  for (const auto& [bits, step] : {std::pair{2, 0.65077}, {3, 0.35341}, {4, 0.19325}})
    CHECK(best_steps(x, 1, 0, (1 << bits) - 1)[0] == doctest::Approx(step).epsilon(0.02));
}

TEST_CASE("best_steps: no step of a dense search is noticeably better, for any codes, channel by channel") {
  const Tensor x = normal_tensor({3, 40, 5, 5}, 8, 0.7f, 3);
  for (const auto& [lo, hi] : {std::pair{-2, 1}, {-8, 7}, {0, 3}, {-128, 127}, {0, 255}}) {
    const std::vector<double> steps = best_steps(x, 3, lo, hi);
    REQUIRE(steps.size() == 3);
    for (size_t c = 0; c < 3; ++c) {
      const auto part = x.data<float>().subspan(c * 1000, 1000);
      double best = 1e30;
      for (int i = 1; i <= 4000; ++i) best = std::min(best, error_of(part, 0.001 * i, lo, hi));
      CHECK_MESSAGE(error_of(part, steps[c], lo, hi) <= 1.02 * best, "channel ", c, " of ", steps.size());
    }
  }
}

TEST_CASE("best_steps: zeros, values out of reach, one value and huge ones") {
  CHECK(best_steps(Tensor::zeros({4}), 1, 0, 3) == std::vector<double>{0});
  CHECK(best_steps(Tensor::full({4}, -2), 1, 0, 3) == std::vector<double>{0});
  const double one = best_steps(Tensor::full({4}, 0.75f), 1, 0, 3)[0];
  CHECK(error_of(std::vector<float>{0.75f}, one, 0, 3) < 1e-12);
  const float huge = std::numeric_limits<float>::max();
  const double far = best_steps(Tensor::of({huge, -huge}), 1, -2, 1)[0];
  CHECK((far > 1e37 && far <= static_cast<double>(huge)));
  CHECK(message_of([] { best_steps(Tensor::zeros({4}), 1, 0, 0); }) ==
        "best_steps: expected codes with lo <= 0 < hi, got 0..0");
}
