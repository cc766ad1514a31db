#include "quant/lowering/channel_map.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nibble {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double at(const std::vector<float>& list, size_t c) { return list[list.size() == 1 ? 0 : c]; }

int bound_code(double bound, const Coding& out, bool fixed) {
  if (bound == -kInfinity) return 0;
  if (bound == kInfinity) return out.highest();
  const double steps = bound / out.scale, code = (fixed ? std::round(steps) : std::nearbyint(steps)) + out.zero;
  return static_cast<int>(std::clamp(code, 0.0, static_cast<double>(out.highest())));
}

}  // namespace

ChannelMap::ChannelMap(size_t channels, const std::vector<float>& bias)
    : a(channels, 1), b(channels, 0), lo(channels, -kInfinity), hi(channels, kInfinity) {
  NIBBLE_CHECK(bias.empty() || bias.size() == channels, "expected ", channels, " biases, got ", bias.size());
  std::ranges::copy(bias, b.begin());
}

void ChannelMap::then(const AffineClamp& next) {
  for (const auto* list : {&next.a, &next.b, &next.lo, &next.hi})
    NIBBLE_CHECK(list->size() == 1 || list->size() == a.size(), "expected 1 or ", a.size(), " channels, got ",
                 list->size());
  for (size_t c = 0; c < a.size(); ++c) {
    const double factor = at(next.a, c), offset = at(next.b, c);
    // A factor of 0 leaves no trace of the bounds before it, not even of infinite ones.
    double low = factor == 0 ? offset : factor * lo[c] + offset, high = factor == 0 ? offset : factor * hi[c] + offset;
    if (factor < 0) std::swap(low, high);
    a[c] *= factor;
    b[c] = factor * b[c] + offset;
    lo[c] = std::clamp(low, at(next.lo, c), at(next.hi, c));
    hi[c] = std::clamp(high, at(next.lo, c), at(next.hi, c));
  }
}

bool ChannelMap::unbounded() const {
  return std::ranges::all_of(lo, [](double v) { return v == -kInfinity; }) &&
         std::ranges::all_of(hi, [](double v) { return v == kInfinity; });
}

bool unbounded(const AffineClamp& map) {
  return std::ranges::all_of(map.lo, [](float v) { return v == -kInfinity; }) &&
         std::ranges::all_of(map.hi, [](float v) { return v == kInfinity; });
}

bool same_for_all(const AffineClamp& map) {
  return map.a.size() == 1 && map.b.size() == 1 && map.lo.size() == 1 && map.hi.size() == 1;
}

std::optional<CodeBounds> code_bounds(const ChannelMap& map, const Coding& out, bool fixed) {
  std::optional<CodeBounds> bounds;
  for (size_t c = 0; c < map.a.size(); ++c) {
    const CodeBounds found{bound_code(map.lo[c], out, fixed), bound_code(map.hi[c], out, fixed)};
    if (bounds && (bounds->lo != found.lo || bounds->hi != found.hi)) return std::nullopt;
    bounds = found;
  }
  return bounds;
}

}  // namespace nibble
