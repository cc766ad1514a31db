#pragma once

#include <limits>
#include <vector>

#include "core/tensor.h"
#include "quant/backward_rule.h"

namespace nibble {

/// Gradients of y = step[c] * clamp(round(x / step[c]), lo, hi), one channel per equal part of axis 0.
struct StepGradients {
  Tensor dx;
  std::vector<double> dstep;  ///< unscaled, one per channel
};

inline constexpr int64_t kWholeChannel = std::numeric_limits<int64_t>::max();

/// One pass over x and dy; codes are recomputed, never stored. Sums run over fixed stretches of elements, cut after
/// every `run` of a channel, and are added in order, so that the bits do not depend on the number of threads. `dx`, if
/// given, is where its own result goes; it may be dy.
StepGradients step_gradients(const Tensor& x, const Tensor& dy, const Tensor& step, int lo, int hi,
                             const BackwardRule& rule, const Tensor& dx = {}, int64_t run = kWholeChannel);

/// The same for one stretch: writes dx, which may be dy, and returns the step's sum.
double step_gradient_of(const float* x, const float* dy, float* dx, int64_t n, float step, int lo, int hi,
                        const BackwardRule& rule);

}  // namespace nibble
