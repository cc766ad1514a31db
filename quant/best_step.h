#pragma once

#include <vector>

#include "core/tensor.h"

namespace nibble {

/// For each of `channels` equal parts of axis 0 the step s that minimises the mean of
/// (s clamp(round(x / s), lo, hi) - x)^2, round half to even: the best of 65 that fall by factors of 2^(1/8) from the
/// largest useful one, then of 31 between its neighbours. 0 where no step is better than another (all elements are 0,
/// or none is in reach of the codes). Does not depend on the number of threads. Throws Error unless hi >= 1.
std::vector<double> best_steps(const Tensor& x, int64_t channels, int lo, int hi);

}  // namespace nibble
