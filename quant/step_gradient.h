#pragma once

#include <vector>

#include "core/tensor.h"
#include "quant/backward_rule.h"

namespace nibble {

/// Gradients of y = step[c] * clamp(round(x / step[c]), lo, hi), one channel per equal part of axis 0.
struct StepGradients {
  Tensor dx;
  std::vector<double> dstep;  ///< unscaled, one per channel
};

/// One pass over x and dy; codes are recomputed, never stored. Sums run over fixed blocks of elements added in order,
/// so that the bits do not depend on the number of threads. `dx`, if given, is where its own result goes; it may be dy.
StepGradients step_gradients(const Tensor& x, const Tensor& dy, const Tensor& step, int lo, int hi,
                             const BackwardRule& rule, const Tensor& dx = {});

}  // namespace nibble
