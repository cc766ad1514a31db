#pragma once

#include "core/tensor.h"

namespace nibble {

/// The loss of BinaryConnect and BNN: the mean over all scores of max(0, 1 - t y)^2, t = 1 for the row's class and -1
/// for all others. Scores (N,K), labels (N) i32; one element. Throws Error on other shapes and labels outside [0, K).
Tensor squared_hinge(const Tensor& scores, const Tensor& labels);

}  // namespace nibble
