#include "quant/xnor_scale.h"

#include <cmath>

#include "core/ops/map.h"
#include "core/tape.h"

namespace nibble {

namespace {

/// to[r, c] = from[r, c] * factor[r] for rows of `width` values.
void multiply_rows(const Tensor& from, const Tensor& factor, const Tensor& to) {
  const int64_t rows = factor.numel(), width = rows == 0 ? 0 : from.numel() / rows;
  const float *values = from.data<float>().data(), *factors = factor.data<float>().data();
  float* out = to.mutable_data<float>().data();
  parallel_for(0, rows, row_grain(width), [=](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r)
      for (int64_t c = r * width; c < (r + 1) * width; ++c) out[c] = values[c] * factors[r];
  });
}

/// Mean of |x| along the last axis.
Tensor mean_magnitude(const Tensor& x, const Shape& shape) {
  Tensor mean = Tensor::empty(shape);
  const int64_t width = x.dim(-1);
  const float* values = x.data<float>().data();
  float* to = mean.mutable_data<float>().data();
  parallel_for(0, mean.numel(), row_grain(width), [=](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      double sum = 0;
      for (int64_t c = r * width; c < (r + 1) * width; ++c) sum += std::abs(values[c]);
      to[r] = static_cast<float>(sum / static_cast<double>(width));
    }
  });
  return mean;
}

}  // namespace

void XnorScale::Options::fields(Fields& f) {
  extent_field(f, "kernel", kernel, "extent of the convolution's window");
  extent_field(f, "stride", stride, "distance of its windows");
  pad_field(f, "pad", pad, "zero pixels around its image");
  extent_field(f, "dilation", dilation, "distance of its taps");
}

Tensor XnorScale::scale_map(const Tensor& x) const {
  const NoRecord guard;
  if (x.rank() == 2) return mean_magnitude(x, {x.dim(0), 1});
  NIBBLE_CHECK(x.rank() == 4, "xnor_scale: expected an input (N,H,W,C) or (N,C), got ", x.shape());
  const Options& o = options_;
  const Tensor window =
      Tensor::full({1, 1, o.kernel.h, o.kernel.w}, 1.0f / static_cast<float>(o.kernel.h * o.kernel.w));
  const ConvGeometry geometry{o.stride.h,   o.stride.w,   resolve_pad(o.pad, x.shape(), o.kernel, o.stride, o.dilation),
                              o.dilation.h, o.dilation.w, 1};
  return conv2d(mean_magnitude(x, {x.dim(0), x.dim(1), x.dim(2), 1}), window, {}, geometry);
}

Tensor XnorScale::forward(Inputs in, const Pass&) {
  check_inputs(*this, in, 2);
  const Tensor& y = in[0];
  check_f32("xnor_scale", y);
  check_f32("xnor_scale", in[1]);
  const Tensor map = scale_map(in[1]);
  bool fits = y.rank() == map.rank();
  for (int axis = 0; fits && axis + 1 < y.rank(); ++axis) fits = y.dim(axis) == map.dim(axis);
  NIBBLE_CHECK(fits, "xnor_scale: an input ", in[1].shape(), " gives a scale ", map.shape(),
               ", which does not fit the output ", y.shape());
  Tensor scaled = Tensor::empty_like(y);
  multiply_rows(y, map, scaled);
  return record("xnor_scale", scaled, {y}, [map](const Tensor& dy) -> Grads {
    Tensor dx = reuse(dy);
    multiply_rows(dy, map, dx);
    return {dx};
  });
}

NIBBLE_REGISTER_LAYER(XnorScale, "xnor_scale",
                      "XNOR-Net's scale of a binary convolution's output by the local magnitude of its real input.");

}  // namespace nibble
