#include "layers/avg_pool.h"

namespace nibble {

void AvgPool::Options::fields(Fields& f) {
  extent_field(f, "kernel", kernel, "extent of the window");
  extent_field(f, "stride", stride, "distance of the windows; 0 means the kernel", 0);
  pad_field(f, "pad", pad, "pixels around the image; \"same\" is TensorFlow's SAME, worked out for each input");
  f("ceil_mode", ceil_mode, "round the output extent up instead of down");
  f("count_padding", count_padding, "divide by the full window, padding included (PyTorch's default)");
}

AvgPool::AvgPool(const Options& options) : options_(options) {
  if (options_.stride.h == 0) options_.stride.h = options_.kernel.h;
  if (options_.stride.w == 0) options_.stride.w = options_.kernel.w;
}

Tensor AvgPool::forward(Inputs in, const Pass&) {
  check_inputs(*this, in, 1);
  const Options& o = options_;
  PoolGeometry geometry{o.kernel.h, o.kernel.w, o.stride.h, o.stride.w, {}, o.ceil_mode, o.count_padding};
  geometry.pad = resolve_pad(o.pad, in[0].shape(), o.kernel, o.stride);
  return avg_pool(in[0], geometry);
}

Facts AvgPool::facts() const {
  const Options& o = options_;
  Facts facts;
  facts.window = WindowForm{
      .mean = true,
      .geometry = {o.kernel.h, o.kernel.w, o.stride.h, o.stride.w, o.pad.pixels, o.ceil_mode, o.count_padding},
      .same_padding = o.pad.same};
  return facts;
}

NIBBLE_REGISTER_LAYER(AvgPool, "avg_pool", "Mean of each window.");

}  // namespace nibble
