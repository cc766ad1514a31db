#pragma once

#include <optional>

#include "core/kernels/conv_f32/driver.h"
#include "core/tensor.h"
#include "quant/kernels/bf16_gemm/bf16_gemm.h"

/// Convolutions whose operands are rounded to bf16 (8 significant bits) and whose sums are f32's, added to what an
/// exact convolution gave: for weights so small beside that one's that their rounding does not count. Activations are
/// NHWC, weights O,I,KH,KW. Results do not depend on the number of threads.
namespace nibble::bf16 {

using conv_f32::ConvPass;
using conv_f32::ConvShape;

/// Whether the kernels compute this pass of this shape: one group, an even number of channels to sum over, and strides
/// that are the same both ways.
bool fits(const ConvShape& shape, ConvPass pass);

/// y[..., o] = factor[o] * base[..., o] + offset[o] + conv(x, w); `base` may be y. Returns the range of y, or nothing
/// if an element is not finite.
std::optional<ValueRange> conv_forward(const Kernels& kernels, const ConvShape& shape, const float* x, const float* w,
                                       const float* base, const float* factor, const float* offset, float* y);
/// dx += dL/dx for dy = dL/dy.
void conv_backward_data(const Kernels& kernels, const ConvShape& shape, const float* dy, const float* w, float* dx);

}  // namespace nibble::bf16
