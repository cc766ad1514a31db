#include "quant/straight_through.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/tape.h"
#include "quant/finite.h"

namespace nibble {

namespace {

/// A channel's levels as a rule sees them.
struct Unit {
  float scale = 1, offset = 0, lo = 0, hi = 0;
};

std::vector<Unit> units_of(const Grid& grid) {
  std::vector<Unit> units;
  const auto* uniform = std::get_if<Uniform>(&grid);
  for (int64_t c = 0; c < channel_count(grid); ++c) {
    if (uniform != nullptr) {
      const auto at = [c](const std::vector<float>& list) {
        return list[list.size() == 1 ? 0 : static_cast<size_t>(c)];
      };
      units.push_back(
          {at(uniform->scale), at(uniform->offset), static_cast<float>(uniform->lo), static_cast<float>(uniform->hi)});
    } else {
      const std::vector<float> levels = levels_of(grid, c);
      const auto ends = std::ranges::minmax_element(levels);
      units.push_back({1, 0, *ends.min, *ends.max});
    }
  }
  return units;
}

Tensor gradient(const Tensor& x, const Tensor& dy, const std::vector<Unit>& units, const BackwardRule& rule) {
  Tensor dx = Tensor::empty_like(x);
  const float *px = x.data<float>().data(), *pdy = dy.data<float>().data();
  float* pdx = dx.mutable_data<float>().data();
  const int64_t width = x.numel() / static_cast<int64_t>(units.size());
  parallel_for(0, x.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    constexpr int64_t kStretch = 1024;
    float u[kStretch];
    for (int64_t first = begin; first < end;) {
      const int64_t channel = first / width;
      const Unit& unit = units[static_cast<size_t>(channel)];
      const int64_t n = std::min({kStretch, end - first, (channel + 1) * width - first});
      for (int64_t i = 0; i < n; ++i) u[i] = (px[first + i] - unit.offset) / unit.scale;
      const auto length = static_cast<size_t>(n);
      rule.input({u, length}, {pdy + first, length}, unit.lo, unit.hi, {pdx + first, length});
      first += n;
    }
  });
  return dx;
}

}  // namespace

Tensor straight_through(std::string_view name, const Tensor& x, const Grid& grid,
                        std::shared_ptr<const BackwardRule> rule) {
  check_finite(name, x);
  if (std::holds_alternative<Real>(grid)) return x;
  return record(name, snap(x, grid), {x},
                [x, units = units_of(grid), rule = std::move(rule)](const Tensor& dy) -> Grads {
                  return {gradient(x, dy, units, *rule)};
                });
}

}  // namespace nibble
