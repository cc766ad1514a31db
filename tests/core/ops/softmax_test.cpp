#include <cmath>

#include "core/ops.h"
#include "tests/support/gradcheck.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Tensor labels_of(const std::vector<int32_t>& labels) {
  return Tensor::from(Shape{static_cast<int64_t>(labels.size())}, std::span<const int32_t>(labels));
}

/// -sum_k t_k log softmax(z)_k, averaged over the rows.
double cross_entropy(const Doubles& z, const std::vector<int32_t>& labels, double smoothing) {
  const size_t classes = z.size() / labels.size();
  double total = 0;
  for (size_t row = 0; row < labels.size(); ++row) {
    double norm = 0;
    for (size_t k = 0; k < classes; ++k) norm += std::exp(z[row * classes + k]);
    for (size_t k = 0; k < classes; ++k) {
      const double target =
          (1 - smoothing) * (static_cast<int32_t>(k) == labels[row]) + smoothing / static_cast<double>(classes);
      total -= target * std::log(std::exp(z[row * classes + k]) / norm);
    }
  }
  return total / static_cast<double>(labels.size());
}

}  // namespace

TEST_CASE("softmax_cross_entropy: the loss and its gradient, with and without label smoothing") {
  const std::vector<int32_t> labels = {2, 0, 4, 4};
  for (const float smoothing : {0.0f, 0.1f, 0.6f}) {
    CAPTURE(smoothing);
    const auto op = [&](const std::vector<Tensor>& in) {
      return softmax_cross_entropy(in[0], labels_of(labels), smoothing);
    };
    const auto reference = [&](const std::vector<Doubles>& in) {
      return Doubles{cross_entropy(in[0], labels, smoothing)};
    };
    CHECK(gradcheck(op, reference, {normal_tensor({4, 5}, 1, 0, 2)}) == "");
  }
}

TEST_CASE("softmax_cross_entropy: large logits do not overflow, an impossible class that is not asked for is free") {
  const Tensor large = Tensor::from({2, 3}, {1000.0f, 0.0f, -1000.0f, -1e30f, 1e30f, 0.0f});
  CHECK(softmax_cross_entropy(large, labels_of({0, 1})).item() == 0);
  CHECK(softmax_cross_entropy(large, labels_of({1, 1})).item() == doctest::Approx(500));
  CHECK(softmax_cross_entropy(Tensor::from({1, 2}, {0.0f, -INFINITY}), labels_of({0})).item() == 0);
  CHECK(std::isnan(softmax_cross_entropy(Tensor::from({1, 2}, {0.0f, NAN}), labels_of({0})).item()));
}

TEST_CASE("softmax_cross_entropy: wrong labels are named") {
  const Tensor logits = Tensor::zeros({2, 3});
  CHECK_THROWS_WITH_AS(softmax_cross_entropy(logits, labels_of({0, 3})),
                       "softmax_cross_entropy: label 3 of sample 1 is outside [0, 3)", Error);
  CHECK_THROWS_AS(softmax_cross_entropy(logits, labels_of({-1, 0})), Error);
  CHECK_THROWS_AS(softmax_cross_entropy(logits, labels_of({0})), Error);
  CHECK_THROWS_AS(softmax_cross_entropy(logits, Tensor::zeros({2})), Error);
  CHECK_THROWS_AS(softmax_cross_entropy(logits, labels_of({0, 1}), 1), Error);
  CHECK_THROWS_AS(softmax_cross_entropy(Tensor::zeros({2, 3, 1}), labels_of({0, 1})), Error);
}

TEST_CASE("softmax: rows are positive and sum to 1") {
  const Tensor z = normal_tensor({3, 7}, 2, 0, 5), p = softmax(z);
  for (size_t row = 0; row < 3; ++row) {
    double total = 0, norm = 0;
    for (size_t k = 0; k < 7; ++k) norm += std::exp(static_cast<double>(z.data<float>()[row * 7 + k]));
    for (size_t k = 0; k < 7; ++k) {
      const float value = p.data<float>()[row * 7 + k];
      CHECK(value == doctest::Approx(std::exp(static_cast<double>(z.data<float>()[row * 7 + k])) / norm).epsilon(1e-6));
      total += value;
    }
    CHECK(total == doctest::Approx(1).epsilon(1e-6));
  }
}
