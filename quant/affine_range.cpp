#include "quant/affine_range.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "core/kernels/elementwise/dispatch.h"
#include "core/ops/map.h"

namespace nibble {

namespace {

constexpr int64_t kBlock = 1 << 14;
constexpr float kLargest = std::numeric_limits<float>::max();

/// The largest float up to `scale` whose multiples lo..hi are finite.
float finite_scale(double scale, int lo, int hi) {
  const auto most = static_cast<float>(std::max({1, -lo, hi}));
  auto s = static_cast<float>(std::min(scale, static_cast<double>(kLargest) / most));
  while (!std::isfinite(s * most)) s = std::nextafter(s, 0.0f);
  return s;
}

float as_finite(double v) { return static_cast<float>(std::clamp<double>(v, -kLargest, kLargest)); }

}  // namespace

AffineRange nudge(double min, double max, int qmin, int qmax) {
  NIBBLE_CHECK(std::isfinite(min) && std::isfinite(max), "affine: a range must be finite, got [", min, ", ", max, "]");
  NIBBLE_CHECK(qmin < qmax, "affine: expected qmin < qmax, got ", qmin, "..", qmax);
  min = std::min(min, 0.0);
  max = std::max(max, 0.0);
  AffineRange range;
  double scale = 1;
  range.zero = qmin;
  if (min < max) {
    scale = std::max((max - min) / (qmax - qmin), static_cast<double>(std::numeric_limits<float>::min()));
    range.zero = static_cast<int>(std::round(std::clamp<double>(qmin - min / scale, qmin, qmax)));
  }
  range.lo = qmin - range.zero;
  range.hi = qmax - range.zero;
  range.scale = finite_scale(scale, range.lo, range.hi);
  range.lowest = as_finite(range.lo * scale);
  range.highest = as_finite(range.hi * scale);
  return range;
}

AffineRange with_short_scale(const AffineRange& range) {
  constexpr int kBits = 16;
  AffineRange result = range;
  int exponent = 0;
  const double fraction = std::frexp(static_cast<double>(range.scale), &exponent);
  const double shorter = std::ldexp(std::nearbyint(std::ldexp(fraction, kBits)), exponent - kBits);
  result.scale = static_cast<float>(shorter);
  // Rounded up past the largest float: the next shorter scale below.
  if (!std::isfinite(result.scale * static_cast<float>(std::max({1, -range.lo, range.hi}))))
    result.scale = static_cast<float>(shorter - std::ldexp(1.0, exponent - kBits));
  result.lowest = static_cast<float>(range.lo) * result.scale;
  result.highest = static_cast<float>(range.hi) * result.scale;
  return result;
}

Uniform grid_of(std::span<const AffineRange> ranges, Ties ties) {
  NIBBLE_CHECK(!ranges.empty(), "affine: no ranges given");
  Uniform grid{{}, {0}, ranges[0].lo, ranges[0].hi, ties};
  bool same_zero = true;
  for (const AffineRange& range : ranges) {
    NIBBLE_CHECK(range.hi - range.lo == grid.hi - grid.lo,
                 "affine: the ranges of a grid differ in their levels: ", grid.hi - grid.lo + 1, " and ",
                 range.hi - range.lo + 1);
    grid.scale.push_back(range.scale);
    same_zero &= range.lo == grid.lo;
  }
  if (same_zero) return grid;
  grid.offset.clear();
  for (const AffineRange& range : ranges) grid.offset.push_back(range.scale * static_cast<float>(range.lo));
  grid.hi -= grid.lo;
  grid.lo = 0;
  return grid;
}

std::vector<Extremes> finite_extremes(const char* who, const Tensor& x, int64_t parts) {
  check_f32(who, x);
  NIBBLE_CHECK(parts > 0 && x.numel() % parts == 0, who, ": shape ", x.shape(), " has no ", parts, " equal parts");
  const int64_t width = x.numel() / parts, blocks = std::max<int64_t>(1, (width + kBlock - 1) / kBlock);
  const Tensor partial = Tensor::empty({parts * blocks, 2});
  const float* values = x.data<float>().data();
  float* bounds = partial.mutable_data<float>().data();
  std::atomic<bool> finite{true};
  parallel_for(0, parts * blocks, 2, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      const int64_t part = b / blocks, begin = part * width + b % blocks * kBlock;
      Extremes found;
      const int64_t count = std::min(kBlock, (part + 1) * width - begin);
      if (!elementwise::kernels().extremes(values + begin, count, &found.lowest, &found.highest)) finite = false;
      bounds[2 * b] = found.lowest;
      bounds[2 * b + 1] = found.highest;
    }
  });
  if (!finite) {
    const auto bad = std::find_if(values, values + x.numel(), [](float v) { return !std::isfinite(v); });
    NIBBLE_CHECK(false, who, ": element ", bad - values, " of a tensor of shape ", x.shape(), " is ", *bad);
  }
  std::vector<Extremes> result(static_cast<size_t>(parts));
  for (int64_t b = 0; b < parts * blocks; ++b) {
    Extremes& total = result[static_cast<size_t>(b / blocks)];
    total = {std::min(total.lowest, bounds[2 * b]), std::max(total.highest, bounds[2 * b + 1])};
  }
  return result;
}

int32_t bias_code(double bias, double weight_scale, double input_scale) {
  const double scale = weight_scale * input_scale;
  NIBBLE_CHECK(std::isfinite(bias) && scale > 0 && std::isfinite(scale), "affine: a bias needs finite values and a ",
               "positive scale, got bias ", bias, ", scales ", weight_scale, " and ", input_scale);
  constexpr double kMost = std::numeric_limits<int32_t>::max(), kLeast = std::numeric_limits<int32_t>::min();
  return static_cast<int32_t>(std::clamp(std::round(bias / scale), kLeast, kMost));
}

}  // namespace nibble
