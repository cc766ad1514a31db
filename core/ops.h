#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/rng.h"
#include "core/tape.h"

/// Differentiable operations. All record on the tape if an input requires a gradient, check their shapes (Error names
/// op and shapes), and give results that do not depend on the number of threads. f32 unless said otherwise.
namespace nibble {

/// Zero (or skipped) border in pixels; TensorFlow's SAME needs top != bottom.
struct Padding {
  int top = 0, bottom = 0, left = 0, right = 0;
  bool operator==(const Padding&) const = default;
};

struct ConvGeometry {
  int stride_h = 1, stride_w = 1;
  Padding pad = {};
  int dilation_h = 1, dilation_w = 1;
  int groups = 1;
  bool operator==(const ConvGeometry&) const = default;
};

/// Symmetric geometry: pad on all four sides, one stride and dilation for both axes.
ConvGeometry square_geometry(int stride = 1, int pad = 0, int dilation = 1, int groups = 1);
/// (n + pad_before + pad_after - dilation * (k - 1) - 1) / stride + 1; throws if the window does not fit.
int64_t conv_extent(int64_t n, int k, int stride, int pad_before, int pad_after, int dilation);

/// y(N,OH,OW,O) = x(N,H,W,I) * w(O,I/groups,KH,KW) + bias(O); bias may be undefined.
Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvGeometry& geometry);
/// y(N,O) = x(N,I) w(O,I)^T + bias(O); bias may be undefined.
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& bias);

struct BatchNormState {
  Tensor mean, variance;  ///< running statistics (C); the variance is the unbiased estimate
  float momentum = 0.9f;  ///< weight of the old value
  float epsilon = 1e-5f;
};
/// Normalises the last axis with the statistics of this batch (biased variance) and updates `state`, then applies
/// gamma and beta, each (C) or undefined for 1 and 0.
Tensor batch_norm_train(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state);
/// The same with the running statistics, which stay as they are.
Tensor batch_norm_eval(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state);

/// y = a[c] * x + b[c] is what batch_norm_eval computes, bit for bit: for whoever folds it into another operation.
struct ChannelAffine {
  std::vector<float> a, b;
};
ChannelAffine batch_norm_affine(const Tensor& gamma, const Tensor& beta, const BatchNormState& state);

Tensor relu(const Tensor& x);
Tensor relu6(const Tensor& x);

struct PoolGeometry {
  int kernel_h = 2, kernel_w = 2, stride_h = 2, stride_w = 2;
  Padding pad = {};
  bool ceil_mode = false;      ///< round the output extent up (Caffe); windows that start in the padding are dropped
  bool count_padding = false;  ///< average pooling divides by the full window (PyTorch's default)
};
/// Padding never wins. The gradient goes to the first maximum of the window in row-major order.
Tensor max_pool(const Tensor& x, const PoolGeometry& geometry);
Tensor avg_pool(const Tensor& x, const PoolGeometry& geometry);
/// (N,H,W,C) -> (N,C).
Tensor global_avg_pool(const Tensor& x);

/// a + b of equal shapes.
Tensor add(const Tensor& a, const Tensor& b);
Tensor scale(const Tensor& x, float factor);
/// Along the last axis.
Tensor concat(std::span<const Tensor> parts);
Tensor reshape(const Tensor& x, const Shape& shape);
/// (N,H,W,C) -> (N,H*W*C) in PyTorch's order of features, (c, h, w), so that imported weights fit.
Tensor flatten(const Tensor& x);
/// Rows and columns 0, stride, 2 stride, ...
Tensor subsample(const Tensor& x, int stride);
/// Adds zero channels in front and behind.
Tensor pad_channels(const Tensor& x, int64_t front, int64_t behind);
/// Zeroes each element with probability p and scales the rest by 1 / (1 - p); advances rng.
Tensor dropout(const Tensor& x, float p, Rng& rng);
/// Sum and mean over all elements, one element each, accumulated in double.
Tensor sum(const Tensor& x);
Tensor mean(const Tensor& x);
/// Mean over the batch of -sum_k t_k log softmax(logits)_k with t = (1 - smoothing) onehot + smoothing / classes.
/// logits (N,K), labels (N) i32 in [0, K).
Tensor softmax_cross_entropy(const Tensor& logits, const Tensor& labels, float smoothing = 0);
/// Mean over the batch of -sum_k p_k log softmax(student / T)_k with p = softmax(teacher / T), T the temperature
/// (Hinton et al. 2015, without the factor T^2). Both logits (N,K); the teacher gets no gradient.
Tensor distillation_loss(const Tensor& student, const Tensor& teacher, double temperature = 1);
/// Row-wise, not recorded.
Tensor softmax(const Tensor& logits);

}  // namespace nibble
