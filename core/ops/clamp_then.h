#pragma once

#include <memory>
#include <optional>

#include "core/ops/elementwise_op.h"
#include "core/tensor.h"

namespace nibble {

/// The range of relu(x + residual), or relu6 with `most` = 6 (else infinity), without forming it; nothing if an element
/// of x + residual is not finite. `residual` may be undefined.
std::optional<ValueRange> clamped_range(const Tensor& x, const Tensor& residual, float most);

/// What `then` makes of relu(x + residual), or relu6, bit for bit, with its gradients, in one pass over the data.
/// Throws if x + residual is not finite.
Tensor clamp_then_train(const Tensor& x, const Tensor& residual, float most,
                        const std::shared_ptr<const ElementwiseOp>& then);

}  // namespace nibble
