#include "layers/shortcut_a.h"

namespace nibble {

void ShortcutA::Options::fields(Fields& f) {
  f.required()("out", out, "output channels", {1, 1 << 20});
  f("stride", stride, "by how much the image shrinks", {1, 64});
  f.choice("pool", pool, {"subsample", "average"}, "take one pixel or the mean of stride x stride");
  f.choice("pad", pad, {"both", "behind"}, "where the zero channels go: half in front and half behind, or all behind");
}

Tensor ShortcutA::forward(Inputs in, const Pass&) {
  check_inputs(*this, in, 1);
  const Tensor& x = in[0];
  const int s = options_.stride;
  NIBBLE_CHECK(x.rank() == 4, "shortcut_a: expected an input (N, H, W, C), got ", x.shape());
  const int64_t zeros = options_.out - x.dim(3);
  NIBBLE_CHECK(zeros >= 0, "shortcut_a: cannot drop channels: out is ", options_.out, ", input is ", x.shape());
  Tensor y = x;
  // Windows that hang over the edge are averaged over what they hold, so that odd extents shrink as a convolution's do.
  if (s > 1) y = options_.pool == "average" ? avg_pool(x, {s, s, s, s, {}, true, false}) : subsample(x, s);
  const int64_t front = options_.pad == "both" ? zeros / 2 : 0;
  return zeros > 0 ? pad_channels(y, front, zeros - front) : y;
}

Facts ShortcutA::facts() const {
  const int s = options_.stride;
  const bool average = s > 1 && options_.pool == "average";
  Facts facts;
  if (average) facts.window = WindowForm{.mean = true, .geometry = {s, s, s, s, {}, true, false}};
  facts.move = MoveForm{.stride = average ? 1 : s, .channels = options_.out, .centred = options_.pad == "both"};
  return facts;
}

NIBBLE_REGISTER_LAYER(ShortcutA, "shortcut_a", "Residual shortcut without parameters (option A).");

}  // namespace nibble
