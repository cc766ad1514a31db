#include <algorithm>

#include "core/blas.h"
#include "core/kernels/conv_f32/dispatch.h"
#include "core/kernels/conv_f32/driver.h"
#include "core/ops.h"
#include "core/ops/conv_shape.h"

namespace nibble {

using conv_f32::ConvShape;

ConvShape conv_shape(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvGeometry& g) {
  NIBBLE_CHECK(x.rank() == 4, "conv2d: input must be (N,H,W,C), got ", x.shape());
  NIBBLE_CHECK(w.rank() == 4, "conv2d: weight must be (O,I/groups,KH,KW), got ", w.shape());
  NIBBLE_CHECK(g.stride_h >= 1 && g.stride_w >= 1 && g.dilation_h >= 1 && g.dilation_w >= 1 && g.groups >= 1,
               "conv2d: strides, dilations and groups must be at least 1, got stride ", g.stride_h, "x", g.stride_w,
               ", dilation ", g.dilation_h, "x", g.dilation_w, ", groups ", g.groups);
  NIBBLE_CHECK(std::min({g.pad.top, g.pad.bottom, g.pad.left, g.pad.right}) >= 0,
               "conv2d: padding must not be negative, got top ", g.pad.top, ", bottom ", g.pad.bottom, ", left ",
               g.pad.left, ", right ", g.pad.right);
  NIBBLE_CHECK(x.dim(3) % g.groups == 0 && w.dim(0) % g.groups == 0, "conv2d: ", g.groups,
               " groups do not divide the channels of input ", x.shape(), " and weight ", w.shape());
  NIBBLE_CHECK(w.dim(1) == x.dim(3) / g.groups, "conv2d: weight expects ", w.dim(1) * g.groups,
               " input channels, input has ", x.dim(3), " (input ", x.shape(), ", weight ", w.shape(), ", groups ",
               g.groups, ")");
  NIBBLE_CHECK(!bias.defined() || (bias.rank() == 1 && bias.dim(0) == w.dim(0)), "conv2d: bias must have ", w.dim(0),
               " elements, got ", bias.defined() ? bias.shape() : Shape{}, " (weight ", w.shape(), ")");
  NIBBLE_CHECK(std::min({w.dim(0), w.dim(1), w.dim(2), w.dim(3)}) >= 1, "conv2d: weight ", w.shape(), " is empty");
  const auto kh = static_cast<int>(w.dim(2)), kw = static_cast<int>(w.dim(3));
  return {.n = x.dim(0),
          .h = x.dim(1),
          .w = x.dim(2),
          .c = x.dim(3),
          .oh = conv_extent(x.dim(1), kh, g.stride_h, g.pad.top, g.pad.bottom, g.dilation_h),
          .ow = conv_extent(x.dim(2), kw, g.stride_w, g.pad.left, g.pad.right, g.dilation_w),
          .o = w.dim(0),
          .kh = kh,
          .kw = kw,
          .geometry = g};
}

ConvGeometry square_geometry(int stride, int pad, int dilation, int groups) {
  return {stride, stride, {pad, pad, pad, pad}, dilation, dilation, groups};
}

int64_t conv_extent(int64_t n, int k, int stride, int pad_before, int pad_after, int dilation) {
  const int64_t room = n + pad_before + pad_after - int64_t{dilation} * (k - 1) - 1;
  NIBBLE_CHECK(room >= 0, "conv2d: a window of ", int64_t{dilation} * (k - 1) + 1, " pixels (kernel ", k, ", dilation ",
               dilation, ") does not fit into ", n, " pixels padded by ", pad_before, " and ", pad_after);
  return room / stride + 1;
}

Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvGeometry& geometry) {
  const ConvShape shape = conv_shape(x, w, bias, geometry);
  const conv_f32::Kernels& k = conv_f32::kernels();
  Tensor y = Tensor::empty({shape.n, shape.oh, shape.ow, shape.o});
  conv_f32::conv_forward(k, shape, x.data<float>().data(), w.data<float>().data(),
                         bias.defined() ? bias.data<float>().data() : nullptr, y.mutable_data<float>().data());
  // Each gradient needs the other operand only; dx of a first layer needs nothing and is not computed.
  const bool want_dx = x.requires_grad(), want_dw = w.requires_grad(), want_db = bias.requires_grad();
  const Tensor kept_x = want_dw ? x.detach() : Tensor{}, kept_w = want_dx ? w.detach() : Tensor{};
  return record("conv2d", y, {x, w, bias}, [=, &k](const Tensor& dy) -> Grads {
    const float* g = dy.data<float>().data();
    Tensor dx, dw, db;
    if (want_dx) {
      dx = Tensor::empty({shape.n, shape.h, shape.w, shape.c});
      conv_f32::conv_backward_data(k, shape, g, kept_w.data<float>().data(), dx.mutable_data<float>().data());
    }
    if (want_dw) {
      dw = Tensor::empty({shape.o, shape.group_in(), shape.kh, shape.kw});
      conv_f32::conv_backward_weights(k, shape, kept_x.data<float>().data(), g, dw.mutable_data<float>().data());
    }
    if (want_db) {
      db = Tensor::empty({shape.o});
      column_sums(shape.n * shape.oh * shape.ow, shape.o, g, db.mutable_data<float>().data());
    }
    return {dx, dw, db};
  });
}

}  // namespace nibble
