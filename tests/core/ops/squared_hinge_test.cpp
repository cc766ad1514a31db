#include "core/ops/squared_hinge.h"

#include <cmath>

#include "core/tape.h"
#include "tests/layers/support.h"
#include "tests/support/gradcheck.h"

using namespace nibble;
using namespace nibble::test;

TEST_CASE("squared_hinge: the mean of max(0, 1 - t y)^2, and its gradient") {
  const int32_t classes[] = {1, 0};
  const Tensor labels = Tensor::from<int32_t>({2}, classes);
  const Tensor scores = Tensor::from({2, 2}, {0.5f, 2.0f, -1.0f, -3.0f});
  // t y = -0.5, 2, -1, 3: gaps of 1.5, 0, 2, 0.
  CHECK(squared_hinge(scores, labels).item() == doctest::Approx((2.25 + 4) / 4));

  const int32_t many[] = {2, 0, 1, 1};
  const Tensor rows = Tensor::from<int32_t>({4}, many);
  const auto formula = [&many](const std::vector<Doubles>& in) {
    double total = 0;
    for (size_t i = 0; i < in[0].size(); ++i) {
      const double t = many[i / 3] == static_cast<int>(i % 3) ? 1 : -1;
      total += std::pow(std::max(0.0, 1 - t * in[0][i]), 2);
    }
    return Doubles{total / static_cast<double>(in[0].size())};
  };
  const auto op = [&rows](const std::vector<Tensor>& in) { return squared_hinge(in[0], rows); };
  CHECK(gradcheck(op, formula, {normal_tensor({4, 3}, 1, 0, 2)}) == "");
}

TEST_CASE("squared_hinge: what is no score or no label is refused, what is no number stays none") {
  const int32_t wrong[] = {3};
  const Tensor scores = Tensor::from({1, 3}, {0.0f, 1.0f, std::nanf("")});
  CHECK(mentions(message_of([&] { squared_hinge(scores, Tensor::from<int32_t>({1}, wrong)); }), {"label 3", "[0, 3)"}));
  CHECK_THROWS_AS(squared_hinge(scores, Tensor::zeros({1})), Error);
  CHECK_THROWS_AS(squared_hinge(Tensor::zeros({3}), Tensor::from<int32_t>({1}, wrong)), Error);
  const int32_t right[] = {1};
  CHECK(std::isnan(squared_hinge(scores, Tensor::from<int32_t>({1}, right)).item()));
}
