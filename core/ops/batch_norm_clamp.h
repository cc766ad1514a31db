#pragma once

#include <memory>
#include <utility>

#include "core/ops.h"
#include "core/ops/elementwise_op.h"

namespace nibble {

/// relu(batch_norm_train(x) + residual), or relu6 with `most` = 6 (else infinity), bit for bit, with its gradients, in
/// one pass over the data where the three operations need one each. `residual` may be undefined.
Tensor batch_norm_clamp_train(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state,
                              const Tensor& residual, float most);

/// The same and what `then` makes of it: y itself, between the two, never reaches the memory. Throws if y is not
/// finite.
Tensor batch_norm_clamp_then_train(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                   const BatchNormState& state, const Tensor& residual, float most,
                                   const std::shared_ptr<const ElementwiseOp>& then);

/// Both: y of batch_norm_clamp_train and what `also` makes of it. Throws if y is not finite.
std::pair<Tensor, Tensor> batch_norm_clamp_and_train(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                                     const BatchNormState& state, const Tensor& residual, float most,
                                                     const std::shared_ptr<const ElementwiseOp>& also);

/// relu(batch_norm_eval(x) + residual), or relu6, bit for bit; in one pass where no gradients are recorded.
Tensor batch_norm_clamp_eval(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state,
                             const Tensor& residual, float most);

}  // namespace nibble
