#pragma once

#include <vector>

#include "core/tensor.h"

/// Sums over tensors in double: fixed blocks added in order, so that they do not depend on the number of threads.
namespace nibble {

/// Mean of |x| over each of `channels` equal parts along axis 0; 0 for an empty tensor.
std::vector<double> mean_absolute(const Tensor& x, int64_t channels);
/// Largest |x| of each part.
std::vector<float> max_absolute(const Tensor& x, int64_t channels);

struct Extremes {
  float lowest = 0, highest = 0;
};
/// Smallest and largest element of each part.
std::vector<Extremes> extremes(const Tensor& x, int64_t channels);

}  // namespace nibble
