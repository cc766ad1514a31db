#pragma once

#include "layers/geometry.h"
#include "layers/layer.h"

namespace nibble {

/// XNOR-Net's input scale (Rastegari et al., ECCV 2016, sec. 3.2, eq. 11): y K(x) for two inputs, the output y of a
/// convolution (N, OH, OW, O) or linear layer (N, O) of signs, and the real x that the signs were taken of:
///   A(h, w) = mean over the channels of |x(h, w)|, K = A convolved with a window of 1 / (kh kw) at every place,
/// in the geometry of that convolution: (N, OH, OW, 1), or (N, 1). Like the paper's gradients, which have none for K,
/// the backward pass takes it as a constant.
class XnorScale final : public Layer {
 public:
  struct Options {
    Extent2 kernel{1, 1}, stride{1, 1};
    PadOption pad{};
    Extent2 dilation{1, 1};
    void fields(Fields& f);
  };
  explicit XnorScale(const Options& options) : options_(options) {}

  std::string_view type() const override { return "xnor_scale"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Json config() const override { return write_options(options_); }

 private:
  Tensor scale_map(const Tensor& x) const;

  Options options_;
};

}  // namespace nibble
