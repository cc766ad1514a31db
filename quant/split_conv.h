#pragma once

#include <functional>
#include <span>

#include "core/kernels/conv_f32/driver.h"
#include "core/tensor.h"
#include "quant/kernels/bf16_gemm/bf16_gemm.h"

namespace nibble {

/// Convolutions of one input with a weight W (O, I/groups, KH, KW) and with diag(a) W + R, whose rest R is what a
/// quantizer changes: most of the second follows from the first, and both have one gradient of the weight. Where R is
/// small its products are formed in bf16, if the processor has fast ones (quant/kernels/bf16_conv): the error is no
/// larger than 2^-15 of the products of the largest weights. Nothing records.
class SplitConv {
 public:
  /// Throws Error unless input and weight fit each other.
  SplitConv(const Tensor& input, const Tensor& weight, const ConvGeometry& geometry);

  const Tensor& input() const { return input_; }
  const ConvGeometry& geometry() const { return shape_.geometry; }
  /// (N, OH, OW, O)
  Shape output_shape() const;

  /// Something to do with images [first, first + count), so few that they stay in the cache meanwhile; called for all
  /// images in order.
  using Step = std::function<void(int64_t first, int64_t count)>;

  /// z = conv(x, W), in f32 but not to the last bit what conv2d() gives; then(first, count) for images that are done.
  void product(const Tensor& weight, const Tensor& z, const Step& then) const;
  /// y = conv(x, diag(a) W + R) + b, of z = conv(x, W); a and b have one value per output channel.
  Tensor forward(const Tensor& z, const Tensor& weight, const Tensor& rest, std::span<const float> a,
                 std::span<const float> b) const;
  /// dx = conv^T(W, dz) + conv^T(R, dy); dz is about diag(a) dy, so that R is held against diag(a) W here, too.
  Tensor input_gradient(const Tensor& dz, const Tensor& weight, const Tensor& dy, const Tensor& rest,
                        std::span<const float> a) const;
  /// dL/dW for dL/dz
  Tensor weight_gradient(const Tensor& dz) const;

 private:
  int64_t images_at_a_time(int64_t values_per_image) const;
  /// What forms the products with R in bf16; null where that is not to be done.
  const bf16::Kernels* bf16_kernels(conv_f32::ConvPass pass, const Tensor& weight, const Tensor& rest,
                                    std::span<const float> a) const;

  Tensor input_;
  conv_f32::ConvShape shape_;
};

}  // namespace nibble
