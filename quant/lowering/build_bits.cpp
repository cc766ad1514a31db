#include "quant/lowering/build_bits.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "layers/packed.h"
#include "quant/lowering/graph_view.h"
#include "quant/lowering/weight_codes.h"

namespace nibble {

namespace {

constexpr int kMostWeightBits = 4;
constexpr size_t kMostThresholds = 15;

int bits_for(int levels) { return std::max(1, static_cast<int>(std::bit_width(static_cast<unsigned>(levels - 1)))); }

/// A weight as strings of bits: value = scale[c] * (offset[c] + sum over k of basis[k][c] * bit k).
struct WeightBits {
  Tensor codes;
  int bits = 1;
  bool whole = false;  ///< offset and basis are the same whole numbers for all channels
  std::vector<double> scale{1}, offset{0};
  std::vector<std::vector<double>> basis;
};

double entry(const std::vector<double>& list, size_t c) { return list[list.size() == 1 ? 0 : c]; }

/// New codes by a table.
Tensor recoded(const Tensor& codes, const std::vector<uint8_t>& table) {
  Tensor result = Tensor::empty_like(codes);
  const auto from = codes.data<uint8_t>();
  const auto to = result.mutable_data<uint8_t>();
  for (size_t i = 0; i < from.size(); ++i) to[i] = table[from[i]];
  return result;
}

/// Equally spaced levels around 0, or nothing.
std::optional<WeightBits> whole_weight(const GemmForm& gemm) {
  std::string why;
  const std::optional<WeightCodes> w = weight_codes(gemm, why);
  if (!w || !w->offset.empty() || w->zero.size() != 1 || w->levels > 1 << kMostWeightBits) return std::nullopt;
  WeightBits result;
  result.whole = true;
  result.scale = w->scale;
  if (w->levels == 3 && w->unit == 1 && w->zero[0] == 1) {
    // -1, 0, 1 as a plane of -1 and a plane of 1: without an offset nothing depends on the sum of the inputs.
    result.codes = recoded(w->codes, {2, 0, 1});
    result.bits = 2;
    result.basis = {{1}, {-1}};
    return result;
  }
  result.codes = w->codes;
  result.bits = bits_for(w->levels);
  result.offset = {static_cast<double>(-w->zero[0])};
  for (int k = 0; k < result.bits; ++k) result.basis.push_back({static_cast<double>(w->unit << k)});
  return result;
}

/// Levels as sums of bits; else one bit for every level but 0.
WeightBits learned_weight(const GemmForm& gemm) {
  NIBBLE_CHECK(!std::holds_alternative<Real>(gemm.weight_grid), "its weight is not quantized");
  WeightBits result;
  result.codes = exact_codes(gemm.weight, gemm.weight_grid);
  if (const std::optional<BitPlanes> planes = as_bitplanes(gemm.weight_grid);
      planes && planes->basis.size() <= kMostWeightBits) {
    result.bits = static_cast<int>(planes->basis.size());
    result.offset.assign(planes->offset.begin(), planes->offset.end());
    for (const auto& plane : planes->basis) result.basis.emplace_back(plane.begin(), plane.end());
    return result;
  }
  NIBBLE_CHECK(level_count(gemm.weight_grid) <= kMostWeightBits + 1, "its weight has ", level_count(gemm.weight_grid),
               " levels that are no sums of up to ", kMostWeightBits, " bits");
  std::vector<uint8_t> table;
  const int64_t channels = channel_count(gemm.weight_grid);
  for (int64_t level = 0, k = 0; level < level_count(gemm.weight_grid); ++level) {
    std::vector<double> values;
    for (int64_t c = 0; c < channels; ++c) values.push_back(levels_of(gemm.weight_grid, c)[static_cast<size_t>(level)]);
    const bool zero = std::ranges::all_of(values, [](double v) { return v == 0; });
    table.push_back(zero ? uint8_t{0} : static_cast<uint8_t>(1 << k++));
    if (!zero) result.basis.push_back(values);
  }
  NIBBLE_CHECK(result.basis.size() <= kMostWeightBits, "its weight has more than ", kMostWeightBits,
               " levels besides 0 that are no sums of bits");
  result.codes = recoded(result.codes, table);
  result.bits = static_cast<int>(result.basis.size());
  return result;
}

/// The same values with nothing factored out.
void multiply_out(WeightBits& w) {
  const size_t channels = std::max({w.scale.size(), w.offset.size(), w.basis[0].size()});
  const auto scaled = [&](std::vector<double>& list) {
    std::vector<double> result;
    for (size_t c = 0; c < channels; ++c) result.push_back(entry(list, c) * entry(w.scale, c));
    list = result;
  };
  scaled(w.offset);
  for (auto& plane : w.basis) scaled(plane);
  w.scale = {1};
  w.whole = false;
}

/// The thresholds of the closing grid on the value before its bounds.
void describe_steps(const GemmSite& site, BitConvLayer::Options& o) {
  const Steps steps = steps_of(site.out_grid, *site.out);
  const double lo = site.map.lo[0], hi = site.map.hi[0];
  NIBBLE_CHECK(std::ranges::all_of(site.map.lo, [&](double v) { return v == lo; }) &&
                   std::ranges::all_of(site.map.hi, [&](double v) { return v == hi; }),
               "its output's bounds differ from channel to channel");
  o.codes.push_back(steps.codes[0]);
  for (size_t l = 0; l < steps.thresholds.size(); ++l) {
    const double t = steps.thresholds[l];
    if (t >= hi) break;  // is never exceeded
    if (t < lo) {        // is always
      o.codes = {steps.codes[l + 1]};
      continue;
    }
    o.thresholds.push_back(t);
    o.codes.push_back(steps.codes[l + 1]);
  }
  NIBBLE_CHECK(o.thresholds.size() <= kMostThresholds, "its output has more than ", kMostThresholds + 1,
               " levels that are not equally spaced with one of them at 0");
}

BitConvLayer::Options options_of(const GemmSite& site, const WeightBits& w, const std::string& engine) {
  BitConvLayer::Options o;
  o.take(site.gemm, w.codes.shape());
  o.engine = engine;
  o.w_bits = w.bits;
  o.rule = w.whole ? "integer" : "learned";
  o.per_channel = std::max(w.offset.size(), w.basis[0].size()) > 1;
  o.take_input(site.in);
  o.real = !site.out;
  if (!site.out) {
    o.reals = RealOutput::of(site);
    return o;
  }
  o.coding = *site.out;
  o.rounds = rounds(site.out_grid, *site.out);
  if (!o.rounds) {
    describe_steps(site, o);
    return o;
  }
  const std::optional<CodeBounds> bounds = code_bounds(site.map, *site.out, false);
  NIBBLE_CHECK(bounds, "its output's bounds differ from channel to channel");
  o.lo = bounds->lo;
  o.hi = bounds->hi;
  return o;
}

void fill_state(const GemmSite& site, const WeightBits& w, const BitConvLayer& layer) {
  const BitConvLayer::State& state = layer.state();
  state.weight.copy_from(pack_codes(w.codes, w.bits));
  const auto columns = static_cast<size_t>(state.w_offset.numel());
  for (size_t c = 0; c < columns; ++c) {
    state.w_offset.mutable_data<float>()[c] = static_cast<float>(entry(w.offset, c));
    for (size_t k = 0; k < w.basis.size(); ++k)
      state.w_basis.mutable_data<float>()[k * columns + c] = static_cast<float>(entry(w.basis[k], c));
  }
  const double out_scale = layer.options().rounds && site.out ? site.out->scale : 1, step = w.whole ? site.in.scale : 1;
  for (size_t c = 0; c < site.map.a.size(); ++c) {
    const double factor = site.map.a[c] * step / out_scale;
    state.scale.mutable_data<float>()[c] = static_cast<float>(factor * entry(w.scale, c));
    state.offset.mutable_data<float>()[c] = static_cast<float>(site.map.b[c] / out_scale);
  }
}

}  // namespace

std::shared_ptr<BitConvLayer> build_bits(const GemmSite& site, const std::string& engine) {
  NIBBLE_CHECK(!site.out || !site.fixed, "the fixed-point epilogue belongs to the engine int8");
  std::optional<WeightBits> weight = whole_weight(site.gemm);
  if (!weight) weight = learned_weight(site.gemm);
  if (weight->whole && !site.in.uniform()) multiply_out(*weight);
  auto layer = std::make_shared<BitConvLayer>(options_of(site, *weight, engine));
  fill_state(site, *weight, *layer);
  layer->after_load();
  return layer;
}

}  // namespace nibble
