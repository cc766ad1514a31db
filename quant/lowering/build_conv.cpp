#include "quant/lowering/build_conv.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "layers/packed.h"
#include "quant/kernels/fixed_point.h"
#include "quant/lowering/graph_view.h"

namespace nibble {

namespace {

constexpr double kLargestAccumulator = 0x1p30;
constexpr double kNegligible = 1e-3;  ///< in codes of the output

int bits_for(int levels) { return std::max(1, static_cast<int>(std::bit_width(static_cast<unsigned>(levels - 1)))); }

/// The codes of one output channel.
std::span<uint8_t> channel_codes(const Tensor& codes, size_t c) {
  const auto size = static_cast<size_t>(codes.numel() / codes.dim(0));
  return codes.mutable_data<uint8_t>().subspan(c * size, size);
}

/// The largest |sum of (x - zero) (unit w - zero_w)| that input codes can make.
double largest_sum(const WeightCodes& w, size_t c, const Coding& in) {
  double sum = 0;
  for (const uint8_t code : channel_codes(w.codes, c)) sum += std::abs(w.unit * code - w.zero_of(c));
  return sum * std::max(in.zero, 255 - in.zero);
}

Int8ConvLayer::Options options_of(const GemmSite& site, const WeightCodes& weight, const std::string& engine) {
  Int8ConvLayer::Options o;
  o.take(site.gemm, weight.codes.shape());
  o.bits = bits_for(weight.levels);
  o.halves = weight.unit == 2;
  o.zero_per_channel = weight.zero.size() > 1;
  o.sum_term = !weight.offset.empty();
  o.engine = engine;
  o.epilogue = site.fixed ? "fixed" : "float";
  o.real = !site.out;
  o.in_zero = site.in.zero;
  if (site.out) {
    o.coding = *site.out;
    const std::optional<CodeBounds> bounds = code_bounds(site.map, *site.out, site.fixed);
    NIBBLE_CHECK(bounds, "its output's bounds differ from channel to channel");
    o.lo = bounds->lo;
    o.hi = bounds->hi;
  } else {
    o.reals = RealOutput::of(site);
  }
  return o;
}

/// Multipliers and biases of the fixed-point epilogue; may change the weight's codes and zeros.
struct FixedLists {
  std::vector<int32_t> bias, multiplier, shift;
};

void mirror(WeightCodes& w, size_t c) {
  for (uint8_t& code : channel_codes(w.codes, c)) code = static_cast<uint8_t>(w.levels - 1 - code);
  w.zero[c] = w.unit * (w.levels - 1) - w.zero[c];
}

/// The weight's codes all become its zero: 0 in both.
void silence(WeightCodes& w, size_t c) {
  std::ranges::fill(channel_codes(w.codes, c), uint8_t{0});
  w.zero[c] = 0;
}

FixedLists fixed_lists(const GemmSite& site, WeightCodes& w) {
  NIBBLE_CHECK(w.offset.empty(), "its weight's grid has an offset that fixed-point arithmetic cannot express");
  const size_t channels = w.channels();
  w.zero.resize(channels, int32_t{w.zero[0]});
  FixedLists lists;
  for (size_t c = 0; c < channels; ++c) {
    const double out_scale = site.out->scale;
    double unit = std::abs(site.map.a[c]) * w.scale_of(c) * site.in.scale;  // of the accumulator, in reals
    const double reach = largest_sum(w, c, site.in) * unit / out_scale;
    const double bias = site.map.b[c] / unit;  // not finite if unit is 0
    if (!(std::abs(bias) + largest_sum(w, c, site.in) < kLargestAccumulator) || unit / out_scale < 0x1p-30) {
      NIBBLE_CHECK(reach < kNegligible, "the bias ", site.map.b[c], " of channel ", c,
                   " does not fit 32 bits in units of ", unit);
      silence(w, c);
      unit = out_scale / 256;
    } else if (site.map.a[c] < 0) {
      mirror(w, c);
    }
    const int8::QuantizedMultiplier m = int8::quantize_multiplier(unit / out_scale);
    const double code = std::clamp(std::round(site.map.b[c] / unit), -kLargestAccumulator, kLargestAccumulator);
    lists.bias.push_back(static_cast<int32_t>(code));
    lists.multiplier.push_back(m.multiplier);
    lists.shift.push_back(m.shift);
  }
  if (std::ranges::all_of(w.zero, [&](int32_t z) { return z == w.zero[0]; })) w.zero.resize(1);
  return lists;
}

template <class T>
void fill(const Tensor& to, const std::vector<T>& values) {
  std::ranges::copy(values, to.mutable_data<T>().begin());
}

void fill_float(const GemmSite& site, const WeightCodes& w, const Int8ConvLayer::State& state) {
  const double out_scale = site.out ? site.out->scale : 1;
  for (size_t c = 0; c < w.channels(); ++c) {
    const double factor = site.map.a[c] * site.in.scale / out_scale;
    state.scale.mutable_data<float>()[c] = static_cast<float>(factor * w.scale_of(c));
    state.offset.mutable_data<float>()[c] = static_cast<float>(site.map.b[c] / out_scale);
    if (state.sum_scale.defined())
      state.sum_scale.mutable_data<float>()[c] = static_cast<float>(factor * w.offset[w.offset.size() == 1 ? 0 : c]);
  }
}

}  // namespace

std::shared_ptr<Int8ConvLayer> build_conv(const GemmSite& site, const WeightCodes& weight, const std::string& engine) {
  NIBBLE_CHECK(site.in.uniform(), "the levels of its input are not equally spaced");
  NIBBLE_CHECK(!site.out || rounds(site.out_grid, *site.out),
               "its output's levels are not equally spaced with one of them at 0");
  WeightCodes own = weight;
  own.codes = weight.codes.clone();
  FixedLists lists;
  const bool fixed = site.fixed && site.out.has_value();
  if (fixed) lists = fixed_lists(site, own);
  auto layer = std::make_shared<Int8ConvLayer>(options_of(site, own, engine));
  const Int8ConvLayer::State& state = layer->state();
  state.weight.copy_from(pack_codes(own.codes, layer->options().bits));
  fill(state.weight_zero, own.zero);
  if (fixed) {
    fill(state.bias, lists.bias);
    fill(state.multiplier, lists.multiplier);
    fill(state.shift, lists.shift);
  } else {
    fill_float(site, own, state);
  }
  layer->after_load();
  return layer;
}

}  // namespace nibble
