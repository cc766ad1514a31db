#pragma once

#include <string_view>

#include "core/kernels/conv_f32/conv_f32.h"
#include "core/ops.h"
#include "core/profile.h"

/// The f32 convolution on raw arrays: packing, padding, tiling and threads around the inner loops of conv_f32.h.
/// Activations are NHWC, weights O,I/groups,KH,KW. Results do not depend on the number of threads.
namespace nibble::conv_f32 {

struct ConvShape {
  int64_t n, h, w, c;  ///< input
  int64_t oh, ow, o;   ///< output
  int64_t kh, kw;
  ConvGeometry geometry;

  int64_t group_in() const { return c / geometry.groups; }
  int64_t group_out() const { return o / geometry.groups; }
  int64_t weights() const { return o * group_in() * kh * kw; }
};

enum class ConvPass { forward, data, weights };

/// How a convolution is computed, in one word for reports:
///   "depthwise": a multiply-add per channel and tap
///   "pointwise": a matrix product straight on the tensors (1x1, no padding, one group)
///   "direct": the same tiles on the tensor itself, taps at their offsets (no padding to add)
///   "direct padded": the same on a copy of each image with a border of zeros
///   "winograd": by F(4x4, 3x3) (winograd.h); gradients, and what conv_forward_fast() computes
std::string_view choose_conv(const ConvShape& shape, ConvPass pass);

/// What a profile says of one pass: FLOP of the direct way (taps in the padding included), bytes of the three tensors,
/// the kernel as "avx512 direct padded".
profile::Work work_of(const Kernels& kernels, const ConvShape& shape, ConvPass pass);

/// y = conv(x, w) + bias; bias may be null.
void conv_forward(const Kernels& kernels, const ConvShape& shape, const float* x, const float* w, const float* bias,
                  float* y);
/// Some images.
struct ImageRange {
  int64_t first, count;
};
/// As conv_forward without a bias, for some of the images, by Winograd's way where that pays for all of them: for
/// results that no other form of the network has to repeat.
void conv_forward_fast(const Kernels& kernels, const ConvShape& shape, ImageRange images, const float* x,
                       const float* w, float* y);
/// dx = dL/dx for dy = dL/dy.
void conv_backward_data(const Kernels& kernels, const ConvShape& shape, const float* dy, const float* w, float* dx);
/// dw = dL/dw.
void conv_backward_weights(const Kernels& kernels, const ConvShape& shape, const float* x, const float* dy, float* dw);

}  // namespace nibble::conv_f32
