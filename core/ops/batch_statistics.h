#pragma once

#include <vector>

#include "core/ops.h"
#include "core/ops/channel_sums.h"

/// What the batch norms have in common: the statistics of a batch, and the sums and gradients that follow from them.
namespace nibble::batch_statistics {

inline const float* values(const Tensor& t) { return t.data<float>().data(); }

/// Throws Error naming `op` unless the arguments of a batch norm fit each other.
void check_arguments(const char* op, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                     const BatchNormState& state);

/// The statistics of a batch and what they make of gamma and beta.
struct Batch {
  ChannelAffine affine;
  Tensor mean, inverse;
};

/// Updates the running statistics.
Batch statistics_of(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state);
/// The factor and the offset that normalise, scale and shift.
ChannelAffine affine_of(const Tensor& gamma, const Tensor& beta, const std::vector<double>& mean,
                        const std::vector<double>& inverse);
/// 1 / sqrt(variance + epsilon)
std::vector<double> inverse_of(const std::vector<double>& variance, float epsilon);
/// Each times its factor, in f32; `factor` may be undefined.
Tensor to_tensor(const std::vector<double>& from, const Tensor& factor);

/// dx = gamma * inverse * (dy - mean(dy) - xhat * mean(dy * xhat)) with xhat = (x - mean) * inverse, formed from x
/// again rather than kept, where dbeta = sum dy and dgamma / inverse = sum dy (x - mean) are `sums`. Into `dx`, which
/// may be dy.
Tensor train_input_gradient(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& mean,
                            const Tensor& inverse, const ChannelProducts& sums, const Tensor& dx);

}  // namespace nibble::batch_statistics
