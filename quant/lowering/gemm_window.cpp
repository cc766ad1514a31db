#include "quant/lowering/gemm_window.h"

namespace nibble {

void GemmWindow::fields(Fields& f, int64_t most_channels) {
  const auto most = static_cast<double>(most_channels);
  f.required()("in", in, "input channels or features", {1, most});
  f.required()("out", out, "output channels or features", {1, most});
  extent_field(f, "kernel", kernel, "extent of the window");
  extent_field(f, "stride", stride, "distance of the windows");
  pad_field(f, "pad", pad, "pixels of 0 around the image; \"same\" is TensorFlow's SAME");
  extent_field(f, "dilation", dilation, "distance of the taps");
  f("groups", groups, "blocks of channels that are convolved apart", {1, 1 << 20});
  f("linear", linear, "the input is (N, in), the output (N, out)");
}

void GemmWindow::take(const GemmForm& gemm, const Shape& weight) {
  const ConvGeometry& g = gemm.geometry;
  linear = weight.rank() == 2;
  groups = g.groups;
  in = static_cast<int>(weight[1] * g.groups);
  out = static_cast<int>(weight[0]);
  if (linear) return;
  kernel = {static_cast<int>(weight[2]), static_cast<int>(weight[3])};
  stride = {g.stride_h, g.stride_w};
  pad = {g.pad, gemm.same_padding};
  dilation = {g.dilation_h, g.dilation_w};
}

void GemmWindow::check(const char* who) const {
  NIBBLE_CHECK(in % groups == 0 && out % groups == 0, who, ": groups must divide both channel counts, got in ", in,
               ", out ", out, ", groups ", groups);
  NIBBLE_CHECK(!linear || (pixelwise() && stride == Extent2{} && dilation == Extent2{} && groups == 1), who,
               ": a linear layer has no window");
}

Padding GemmWindow::padding(int64_t h, int64_t w) const {
  return pad.same ? same_padding(h, w, kernel, stride, dilation) : pad.pixels;
}

ConvGeometry GemmWindow::geometry(const Padding& border) const {
  return {stride.h, stride.w, border, dilation.h, dilation.w, groups};
}

Shape GemmWindow::output(int64_t n, int64_t h, int64_t w, const Padding& border) const {
  return {n, conv_extent(h, kernel.h, stride.h, border.top, border.bottom, dilation.h),
          conv_extent(w, kernel.w, stride.w, border.left, border.right, dilation.w), out};
}

Shape GemmWindow::term_shape(const Shape& input, bool adds) const {
  if (!adds) return {};
  if (input.rank() == 2) return {input[0], out};
  return output(input[0], input[1], input[2], padding(input[1], input[2]));
}

bool GemmWindow::overlaps(const Padding& border) const {
  const int tall = (kernel.h - 1) * dilation.h + 1, wide = (kernel.w - 1) * dilation.w + 1;
  return std::max(border.top, border.bottom) < tall && std::max(border.left, border.right) < wide;
}

GemmWindow::Rows GemmWindow::rows_read(int64_t first, int64_t count, int64_t h, const Padding& border) const {
  const int64_t from = first * stride.h - border.top, tall = int64_t{kernel.h - 1} * dilation.h + 1;
  const int64_t to = from + (count - 1) * stride.h + tall, begin = std::max<int64_t>(0, from), end = std::min(h, to);
  return {begin, end - begin, {static_cast<int>(begin - from), static_cast<int>(to - end), border.left, border.right}};
}

std::string GemmWindow::text() const {
  const Padding& p = pad.pixels;
  return concat_text(kernel.h, "x", kernel.w, " ", in, " to ", out, " channels, stride ", stride.h, "x", stride.w,
                     ", groups ", groups, ", pad ",
                     pad.same ? "same" : concat_text(p.top, "/", p.bottom, "/", p.left, "/", p.right), ", dilation ",
                     dilation.h, "x", dilation.w);
}

}  // namespace nibble
