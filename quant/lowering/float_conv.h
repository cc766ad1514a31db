#pragma once

#include <vector>

#include "core/tensor.h"
#include "quant/kernels/int8_conv/int8_conv.h"

namespace nibble {

/// What an int8::Int8ConvSpec defines, computed by the convolution of the float network: codes and weights are whole
/// numbers in f32, of which every sum is exact while it stays below 2^24; the channels are cut into parts for which it
/// does. So the bits are those of int8::Int8Conv, out of other kernels. Immutable.
class FloatConv {
 public:
  /// The spec must have passed int8::Int8Conv. Throws Error if already one channel's window could reach 2^24.
  explicit FloatConv(const int8::Int8ConvSpec& spec);

  /// x: (N, H, W, in) codes -> y: (N, OH, OW, out) codes (u8) or reals (f32), with `pad` around the image.
  void run(const Tensor& x, const Padding& pad, const Tensor& y) const;

 private:
  /// Input channels first .. last - 1 of every group.
  struct Part {
    int64_t first = 0, last = 0;
    Tensor weight;  ///< (out, last - first, kh, kw): unit w - w_zero
  };

  void cut(const int8::Int8ConvSpec& spec);
  /// The part's channels as x - x_zero.
  Tensor values(const Tensor& x, const Part& part) const;
  template <class T, class Finish>
  void write(const Tensor& y, const Tensor& sums, const Tensor& x_sums, Finish finish) const;
  uint8_t code(int32_t acc, int32_t x_sum, size_t channel) const;
  float real(int32_t acc, int32_t x_sum, size_t channel) const;

  int64_t in_, out_;
  int32_t x_zero_;
  ConvGeometry geometry_;
  std::vector<int32_t> bias_;
  int8::Epilogue epilogue_;  ///< every list that is used has `out` entries
  std::vector<Part> parts_;
};

}  // namespace nibble
