#include "apps/evaluate.h"

#include <cmath>

#include "third_party/doctest.h"

namespace nibble {

TEST_CASE("evaluate: the rank counts better classes, and lower class numbers among equals") {
  const std::vector<float> scores = {1, 3, 3, 0, NAN};
  CHECK(rank_of(scores, 1) == 0);
  CHECK(rank_of(scores, 2) == 1);
  CHECK(rank_of(scores, 0) == 2);
  CHECK(rank_of(scores, 3) == 3);
  CHECK(rank_of(scores, 4) == 5);
}

TEST_CASE("evaluate: batches of different size weigh by their images") {
  EvalResult result;
  const auto labels = [](std::vector<int32_t> values) {
    return Tensor::from<int32_t>(Shape{static_cast<int64_t>(values.size())}, values);
  };
  add_batch(result, Tensor::from({2, 2}, std::vector<float>{2, 0, 0, 2}), labels({0, 0}));
  add_batch(result, Tensor::from({1, 2}, std::vector<float>{0, 0}), labels({0}));
  CHECK(result.correct == 2);
  CHECK(result.correct5 == 3);
  CHECK(result.total == 3);
  CHECK(result.top1() == doctest::Approx(200.0 / 3));
  const double soft = std::log(1 + std::exp(-2.0));
  CHECK(result.loss() == doctest::Approx((soft + (soft + 2) + std::log(2.0)) / 3));
}

}  // namespace nibble
