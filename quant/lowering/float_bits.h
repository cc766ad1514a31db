#pragma once

#include <vector>

#include "core/tensor.h"
#include "quant/kernels/bit_conv/bit_conv.h"

namespace nibble {

/// What a bits::BitConvSpec defines, computed by the convolution of the float network, of which every sum is a whole
/// number below 2^24: sums of products for whole levels; for learned ones the counts of each pair of bit planes, to
/// which the definition's arithmetic is applied. So the bits are those of bits::BitConv, out of other kernels.
/// Immutable.
class FloatBits {
 public:
  /// The spec must have passed bits::BitConv. Throws Error if the sums may reach 2^24.
  explicit FloatBits(const bits::BitConvSpec& spec);

  /// x: (N, H, W, in) codes -> y: (N, OH, OW, out) codes (u8) or reals (f32), with `pad` around the image.
  void run(const Tensor& x, const Padding& pad, const Tensor& y) const;

 private:
  /// The counts of bits::Counts at every output: p has w_bits * a_bits tensors (N, OH, OW, out), q a_bits tensors
  /// (N, OH, OW, groups); r and t, which do not depend on the image, have N = 1.
  struct Planes {
    std::vector<Tensor> p, q, r;
    Tensor t;
  };
  Planes count(const Tensor& x, const ConvGeometry& geometry) const;
  void write_whole(const Tensor& x, const ConvGeometry& geometry, const Tensor& y) const;
  void write_learned(const Planes& planes, const Tensor& y) const;

  bits::BitConvSpec spec_;
  std::vector<Tensor> weight_planes_;
  Tensor whole_;  ///< the weights, if all levels are whole numbers
};

}  // namespace nibble
