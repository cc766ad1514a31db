#pragma once

#include "core/parallel.h"
#include "layers/geometry.h"
#include "layers/layer.h"

namespace nibble {

/// Channels and window of a convolution or, if `linear`, of a linear layer, as options of a lowered layer.
struct GemmWindow {
  int in = 1, out = 1;
  Extent2 kernel{1, 1}, stride{1, 1};
  PadOption pad{};
  Extent2 dilation{1, 1};
  int groups = 1;
  bool linear = false;  ///< (N, in) -> (N, out)

  /// `most_channels` is the largest accepted number of them.
  void fields(Fields& f, int64_t most_channels);
  /// Of a weight (out, in/groups[, kh, kw]).
  void take(const GemmForm& gemm, const Shape& weight);
  /// Throws Error unless the groups divide the channels and a linear layer has no window.
  void check(const char* who) const;

  Shape weight_shape() const { return {out, in / groups, kernel.h, kernel.w}; }
  /// A 1x1 window without a border.
  bool pixelwise() const { return kernel == Extent2{} && !pad.same && pad.pixels == Padding{}; }
  /// The border for an input of h x w; of "same" without an input none.
  Padding padding(int64_t h, int64_t w) const;
  Padding padding() const { return pad.same ? Padding{} : pad.pixels; }
  ConvGeometry geometry(const Padding& border) const;
  /// (n, oh, ow, out) for n inputs of h x w.
  Shape output(int64_t n, int64_t h, int64_t w, const Padding& border) const;
  /// That of what is added to the output for an input of this shape; empty if nothing is.
  Shape term_shape(const Shape& input, bool adds) const;
  /// Whether every window covers a pixel of the image, whatever its extent.
  bool overlaps(const Padding& border) const;
  /// The rows of an image of height h that `count` rows of the output from `first` on are made of, and what of the
  /// border lies around them. The windows must overlap the image.
  struct Rows {
    int64_t first, count;
    Padding pad;
  };
  Rows rows_read(int64_t first, int64_t count, int64_t h, const Padding& border) const;
  /// "3x3 16 to 32 channels, stride 2x2, groups 1, pad 1/1/1/1, dilation 1x1".
  std::string text() const;
};

/// Runs a convolution's plan (int8::Int8Conv, bits::BitConv) on codes x (N, H, W, in) with scratch for all threads;
/// `more` are arguments of Plan::run behind the scratch.
template <class Plan, class... More>
void run_plan(const Plan& plan, const Tensor& x, const Tensor& y, More... more) {
  const int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2);
  const Tensor scratch = Tensor::empty({plan.scratch_bytes(h, w, n) * threads()}, DType::u8);
  plan.run(x.data<uint8_t>().data(), n, h, w, y.raw(), {scratch.raw(), scratch.bytes()}, more...);
}

}  // namespace nibble
