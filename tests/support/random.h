#pragma once

#include <cmath>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"

namespace nibble::test {

/// Uniform in [lo, hi), a function of the seed only.
inline Tensor random_tensor(const Shape& shape, uint64_t seed, float lo = -1, float hi = 1) {
  const Rng rng(seed);
  Tensor x = Tensor::empty(shape);
  auto values = x.mutable_data<float>();
  for (size_t i = 0; i < values.size(); ++i) values[i] = lo + (hi - lo) * rng.uniform(i);
  return x;
}

/// Normal with the given mean and deviation.
inline Tensor normal_tensor(const Shape& shape, uint64_t seed, float mean = 0, float deviation = 1) {
  const Rng rng(seed);
  Tensor x = Tensor::empty(shape);
  auto values = x.mutable_data<float>();
  for (size_t i = 0; i < values.size(); ++i) values[i] = mean + deviation * rng.normal(i);
  return x;
}

/// Distinct values in random order, `step` apart and centred on 0: no two are equal and (unless their number is odd)
/// none is 0, so that a maximum or a sign does not change under a small step.
inline Tensor distinct_tensor(const Shape& shape, uint64_t seed, float step = 0.01f) {
  const Rng rng(seed);
  Tensor x = Tensor::empty(shape);
  auto values = x.mutable_data<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = step * (static_cast<float>(i) - 0.5f * static_cast<float>(values.size() - 1));
  }
  for (size_t i = values.size(); i > 1; --i) {
    std::swap(values[i - 1], values[rng.below(i, static_cast<uint32_t>(i))]);
  }
  return x;
}

inline std::vector<float> values_of(const Tensor& x) {
  const auto values = x.data<float>();
  return {values.begin(), values.end()};
}

inline std::vector<double> doubles_of(const Tensor& x) {
  const auto values = x.data<float>();
  return {values.begin(), values.end()};
}

}  // namespace nibble::test
