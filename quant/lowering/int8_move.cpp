#include "quant/lowering/int8_move.h"

#include <cstring>

#include "core/parallel.h"

namespace nibble {

namespace {

/// Pixels of one image that are kept, widened by the code of 0. y: (oh, ow, out).
struct Widen {
  int64_t h, w, c, oh, ow, out, front, stride;
  uint8_t zero;

  void image(const uint8_t* x, uint8_t* y) const {
    for (int64_t i = 0; i < oh; ++i)
      for (int64_t j = 0; j < ow; ++j, y += out) {
        std::memset(y, zero, static_cast<size_t>(out));
        std::memcpy(y + front, x + (i * stride * w + j * stride) * c, static_cast<size_t>(c));
      }
  }
};

Tensor widened(const Layer& layer, const Tensor& x, const Int8Move::Options& o) {
  const int64_t out = o.channels > 0 ? o.channels : x.dim(3), zeros = out - x.dim(3);
  NIBBLE_CHECK(zeros >= 0, "int8_move: cannot drop channels: out is ", out, ", input is ", x.shape());
  const Widen widen{x.dim(1),
                    x.dim(2),
                    x.dim(3),
                    (x.dim(1) + o.stride - 1) / o.stride,
                    (x.dim(2) + o.stride - 1) / o.stride,
                    out,
                    o.centred ? zeros / 2 : 0,
                    o.stride,
                    static_cast<uint8_t>(o.zero)};
  Tensor y = new_output(layer, {x.dim(0), widen.oh, widen.ow, out});
  const uint8_t* from = x.data<uint8_t>().data();
  uint8_t* to = y.mutable_data<uint8_t>().data();
  const int64_t in_size = widen.h * widen.w * widen.c, out_size = widen.oh * widen.ow * out;
  parallel_for(0, x.dim(0), 1 + (1 << 14) / (out_size + 1), [=](int64_t lo, int64_t hi) {
    for (int64_t n = lo; n < hi; ++n) widen.image(from + n * in_size, to + n * out_size);
  });
  return y;
}

/// (N, H, W, C) -> (N, C*H*W), channels outermost.
Tensor flattened(const Tensor& x) {
  const int64_t pixels = x.dim(1) * x.dim(2), channels = x.dim(3), size = pixels * channels;
  Tensor y = Tensor::empty({x.dim(0), size}, DType::u8);
  const uint8_t* from = x.data<uint8_t>().data();
  uint8_t* to = y.mutable_data<uint8_t>().data();
  parallel_for(0, x.dim(0), 1 + (1 << 14) / (size + 1), [=](int64_t lo, int64_t hi) {
    for (int64_t n = lo; n < hi; ++n)
      for (int64_t p = 0; p < pixels; ++p)
        for (int64_t c = 0; c < channels; ++c) to[n * size + c * pixels + p] = from[n * size + p * channels + c];
  });
  return y;
}

}  // namespace

void Int8Move::Options::fields(Fields& f) {
  f("stride", stride, "keep every stride-th row and column", {1, 64});
  f("channels", channels, "channels of the output; 0 for those of the input", {0, 1 << 20});
  f("centred", centred, "half of the new channels go in front");
  f("flatten", flatten, "make one row of each image, in the order (c, h, w)");
  f("zero", zero, "the code of 0", {0, 255});
}

std::optional<Coding> Int8Move::coding(std::span<const std::optional<Coding>> inputs) const {
  const Coding& in = only_coding(*this, inputs);
  const int zero = in.uniform() ? in.zero : in.zero_code().value_or(0);
  NIBBLE_CHECK(zero == options_.zero, "int8_move: expected the code of 0 to be ", options_.zero, ", is ", zero);
  NIBBLE_CHECK(options_.channels == 0 || in.zero_code(), "int8_move: cannot add channels of 0, which is no level");
  return in;
}

Tensor Int8Move::compute(Inputs in) {
  check_lowered_inputs(*this, in, 1, DType::u8);
  Tensor x = in[0];
  const bool widens = options_.stride > 1 || options_.channels > 0;
  if (!widens && !options_.flatten) return x;
  NIBBLE_CHECK(x.rank() == 4, "int8_move: expected an input (N, H, W, C), got ", x.shape());
  if (widens) x = widened(*this, x, options_);
  return options_.flatten ? flattened(x) : x;
}

NIBBLE_REGISTER_LAYER(Int8Move, "int8_move", "Lowered: flatten, and shortcuts without parameters, on codes.");

}  // namespace nibble
