#include "quant/lowering/pool_window.h"

#include <algorithm>

namespace nibble {

namespace {

/// The border behind with which rounding down gives as many windows as rounding up, without those that start in it.
int border_for_ceil(int64_t n, int kernel, int stride, int before, int after) {
  const int64_t room = n + before + after - kernel;
  if (room < 0) return after;
  int64_t out = (room + stride - 1) / stride + 1;
  if ((out - 1) * stride - before >= n) --out;
  return static_cast<int>(std::max<int64_t>(0, (out - 1) * stride + kernel - n - before));
}

}  // namespace

void PoolWindow::fields(Fields& f, const std::string& prefix) {
  extent_field(f, prefix + "kernel", kernel, "extent of the window");
  extent_field(f, prefix + "stride", stride, "distance of the windows");
  pad_field(f, prefix + "pad", pad, "pixels around the image, which do not count");
  f(prefix + "ceil_mode", ceil_mode, "round the output extent up instead of down");
  f(prefix + "global", global, "the window is the whole image, the output (N, C)");
}

PoolWindow PoolWindow::of(const WindowForm& form) {
  const PoolGeometry& g = form.geometry;
  return {{g.kernel_h, g.kernel_w}, {g.stride_h, g.stride_w}, {g.pad, form.same_padding}, g.ceil_mode, form.global};
}

PoolGeometry PoolWindow::on(const Shape& x) const {
  WindowForm form{.global = global};
  form.geometry = {kernel.h, kernel.w, stride.h, stride.w, pad.pixels, ceil_mode};
  form.same_padding = pad.same;
  PoolGeometry g = geometry_for(form, x);
  NIBBLE_CHECK(x[1] + g.pad.top + g.pad.bottom >= g.kernel_h && x[2] + g.pad.left + g.pad.right >= g.kernel_w &&
                   x[1] >= 1 && x[2] >= 1,
               "a window of ", g.kernel_h, "x", g.kernel_w, " pixels does not fit into the input ", x);
  if (g.ceil_mode) {
    g.pad.bottom = border_for_ceil(x[1], g.kernel_h, g.stride_h, g.pad.top, g.pad.bottom);
    g.pad.right = border_for_ceil(x[2], g.kernel_w, g.stride_w, g.pad.left, g.pad.right);
    g.ceil_mode = false;
  }
  return g;
}

int8::Int8PoolSpec pool_spec(const PoolGeometry& g, bool average) {
  int8::Int8PoolSpec spec;
  spec.average = average;
  spec.kh = g.kernel_h;
  spec.kw = g.kernel_w;
  spec.stride_h = g.stride_h;
  spec.stride_w = g.stride_w;
  spec.pad_top = g.pad.top;
  spec.pad_bottom = g.pad.bottom;
  spec.pad_left = g.pad.left;
  spec.pad_right = g.pad.right;
  return spec;
}

}  // namespace nibble
