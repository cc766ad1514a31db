#include "quant/lowering/int8_avg_pool.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "core/rounding.h"
#include "quant/kernels/fixed_point.h"

namespace nibble {

namespace {

/// Pixels of the window at output position `o` of one axis: inside the image, and with the border.
struct Covered {
  int64_t inside, full;
};

Covered covered(int64_t o, int64_t n, int kernel, int stride, int before, int after) {
  const int64_t start = o * stride - before, end = start + kernel;
  return {std::min(n, end) - std::max<int64_t>(0, start), std::min(n + after, end) - start};
}

/// Makes a code of a sum of differences from the code of 0, for windows with one number of pixels and one divisor.
struct Rescaler {
  bool real;
  int shift = 0;
  int8::QuantizedMultiplier fixed;
  float factor = 0;
  int zero, highest;

  Rescaler(const Int8AvgPool::Options& o, int64_t pixels, int64_t divisor) : real(o.epilogue == "float") {
    const double m = static_cast<double>(o.in.scale) / (static_cast<double>(divisor) * o.out.scale);
    if (real) {
      factor = static_cast<float>(m);
      NIBBLE_CHECK(std::isfinite(factor), "int8_avg_pool: the scales ", o.in.scale, " and ", o.out.scale,
                   " are too far apart");
    } else {
      // As in the sum of two tensors: with all the bits there are, the first of the two roundings does not count.
      while (shift < 20 && (pixels * 255) << (shift + 1) < int64_t{1} << 31) ++shift;
      fixed = int8::quantize_multiplier(std::ldexp(m, -shift));
    }
    zero = o.out.zero;
    highest = o.out.highest();
  }
  uint8_t operator()(int32_t sum) const {
    if (!real) {
      const int64_t code = int64_t{int8::multiply_by_quantized_multiplier(sum * (1 << shift), fixed)} + zero;
      return static_cast<uint8_t>(std::clamp<int64_t>(code, 0, highest));
    }
    const float lo = static_cast<float>(-zero), hi = static_cast<float>(highest - zero);
    const float code = round_half_even(std::clamp(static_cast<float>(sum) * factor, lo, hi));
    return static_cast<uint8_t>(static_cast<int>(code) + zero);
  }
};

}  // namespace

void Int8AvgPool::Options::fields(Fields& f) {
  window.fields(f);
  f("count_padding", count_padding, "divide by the full window, padding included");
  f.choice("epilogue", epilogue, {"fixed", "float"}, "fixed-point or single-precision rescaling");
  in.fields(f, "in_");
  out.fields(f);
}

Int8AvgPool::Int8AvgPool(const Options& options) : options_(options) {
  for (const Coding* coding : {&options.in, &options.out}) check_uniform("int8_avg_pool", *coding);
  NIBBLE_CHECK(options.out.unit == 1, "int8_avg_pool: expected an output with unit 1, got ", options.out.unit);
  Rescaler(options, 1, 1);  // throws if the scales do not go together
}

std::optional<Coding> Int8AvgPool::coding(std::span<const std::optional<Coding>> inputs) const {
  NIBBLE_CHECK(only_coding(*this, inputs) == options_.in, "int8_avg_pool: the input is not coded as the layer expects");
  return options_.out;
}

void Int8AvgPool::rescale(const Tensor& sums, const PoolGeometry& g, const Shape& x, const Tensor& y) const {
  const int64_t oh = sums.dim(1), ow = sums.dim(2), channels = sums.dim(3);
  const int32_t* from = sums.data<int32_t>().data();
  uint8_t* to = y.mutable_data<uint8_t>().data();
  parallel_for(0, sums.dim(0) * oh, 1 + (1 << 13) / (ow * channels + 1), [&, from, to](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const Covered high = covered(row % oh, x[1], g.kernel_h, g.stride_h, g.pad.top, g.pad.bottom);
      for (int64_t j = 0; j < ow; ++j) {
        const Covered wide = covered(j, x[2], g.kernel_w, g.stride_w, g.pad.left, g.pad.right);
        const int64_t inside = high.inside * wide.inside;
        const Rescaler code(options_, inside, options_.count_padding ? high.full * wide.full : inside);
        const auto offset = static_cast<int32_t>(inside * options_.in.zero);
        const int64_t at = (row * ow + j) * channels;
        for (int64_t c = at; c < at + channels; ++c) to[c] = code(from[c] - offset);
      }
    }
  });
}

Tensor Int8AvgPool::compute(Inputs in) {
  check_lowered_inputs(*this, in, 1, DType::u8);
  const Tensor& x = in[0];
  PoolGeometry geometry = options_.window.on(x.shape());
  const int8::Int8Pool pool(pool_spec(geometry, true));
  const uint8_t* from = x.data<uint8_t>().data();
  const int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  const Shape shape{n, pool.output_h(h), pool.output_w(w), c};
  Tensor y = new_output(*this, shape);
  if (options_.epilogue == "fixed" && options_.in == options_.out && !options_.count_padding) {
    pool.run(from, n, h, w, c, y.mutable_data<uint8_t>().data());
  } else {
    const Tensor sums = Tensor::empty(shape, DType::i32);
    pool.run_sums(from, n, h, w, c, sums.mutable_data<int32_t>().data());
    // With "same" the border counts as padding; with ceil_mode what was added does not.
    if (options_.window.ceil_mode) {
      geometry.pad.bottom = options_.window.pad.pixels.bottom;
      geometry.pad.right = options_.window.pad.pixels.right;
    }
    rescale(sums, geometry, x.shape(), y);
  }
  return options_.window.global ? y.view({n, c}) : y;
}

NIBBLE_REGISTER_LAYER(Int8AvgPool, "int8_avg_pool", "Lowered: the mean of each window, on codes.");

}  // namespace nibble
