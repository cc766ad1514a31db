#include "core/grid.h"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace nibble {
namespace {

/// The magnitude up to which encode rounds exactly.
constexpr int kLargestBound = 1 << 22;

float at(const std::vector<float>& list, size_t channel) { return list[list.size() == 1 ? 0 : channel]; }

void check_list(const char* what, const std::vector<float>& list, int64_t channels) {
  NIBBLE_CHECK(list.size() == 1 || static_cast<int64_t>(list.size()) == channels, "grid: ", what, " must have 1 or ",
               channels, " entries (one per channel), has ", list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    NIBBLE_CHECK(std::isfinite(list[i]), "grid: ", what, "[", i, "] must be finite, is ", list[i]);
  }
}

void check_ascending(const char* what, const std::vector<float>& list) {
  for (size_t i = 0; i < list.size(); ++i) {
    NIBBLE_CHECK(std::isfinite(list[i]), "grid: ", what, "[", i, "] must be finite, is ", list[i]);
    NIBBLE_CHECK(i == 0 || list[i - 1] <= list[i], "grid: ", what, " must ascend, entry ", i - 1, " is ", list[i - 1],
                 " and entry ", i, " is ", list[i]);
  }
}

void check_levels(const Grid& grid, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    for (const float level : levels_of(grid, c)) {
      NIBBLE_CHECK(std::isfinite(level), "grid: channel ", c, " has a level that overflows");
    }
  }
}

struct Checker {
  int64_t channels;

  void operator()(const Real&) const {}
  void operator()(const Uniform& g) const {
    check_list("scale", g.scale, channels);
    check_list("offset", g.offset, channels);
    for (size_t c = 0; c < g.scale.size(); ++c) {
      NIBBLE_CHECK(g.scale[c] > 0, "grid: scale[", c, "] must be positive, is ", g.scale[c]);
    }
    NIBBLE_CHECK(g.lo <= g.hi && int64_t{g.hi} - g.lo < 256, "grid: lo..hi must hold 1 to 256 levels, is ", g.lo, "..",
                 g.hi);
    NIBBLE_CHECK(g.lo >= -kLargestBound && g.hi <= kLargestBound, "grid: lo and hi must lie within ", -kLargestBound,
                 "..", kLargestBound, ", are ", g.lo, "..", g.hi);
  }
  void operator()(const BitPlanes& g) const {
    NIBBLE_CHECK(!g.basis.empty() && g.basis.size() <= 8, "grid: expected 1 to 8 bit planes, got ", g.basis.size());
    check_list("offset", g.offset, channels);
    for (const auto& plane : g.basis) check_list("basis", plane, channels);
  }
  void operator()(const Codebook& g) const {
    NIBBLE_CHECK(!g.levels.empty() && g.levels.size() <= 256, "grid: expected 1 to 256 levels, got ", g.levels.size());
    NIBBLE_CHECK(g.thresholds.size() + 1 == g.levels.size(), "grid: ", g.levels.size(), " levels need ",
                 g.levels.size() - 1, " thresholds, got ", g.thresholds.size());
    check_ascending("levels", g.levels);
    check_ascending("thresholds", g.thresholds);
  }
};

// An empty list counts as one channel, so that the checks refuse it.
size_t channels_of(const Uniform& g) { return std::max({size_t{1}, g.scale.size(), g.offset.size()}); }

size_t channels_of(const BitPlanes& g) {
  size_t count = std::max<size_t>(1, g.offset.size());
  for (const auto& plane : g.basis) count = std::max(count, plane.size());
  return count;
}

/// True if both grids give every code of every channel the same value.
bool same_values(const Grid& a, const Grid& b) {
  for (int64_t c = 0; c < std::max(channel_count(a), channel_count(b)); ++c) {
    if (levels_of(a, c) != levels_of(b, c)) return false;
  }
  return true;
}

/// value = offset + step * code for each channel, written with an integer lo and no offset if that fits all channels,
/// else with lo = 0.
std::optional<Uniform> uniform_from(const Grid& grid, const std::vector<float>& step, const std::vector<float>& first) {
  const auto last = static_cast<int>(level_count(grid)) - 1;
  for (const float s : step) {
    if (!(s > 0)) return std::nullopt;
  }
  const double lo = std::nearbyint(static_cast<double>(first[0]) / step[0]);
  if (std::abs(lo) + last <= kLargestBound) {
    Uniform centred{step, {0.0f}, static_cast<int>(lo), static_cast<int>(lo) + last};
    if (same_values(grid, centred)) return centred;
  }
  Uniform shifted{step, first, 0, last};
  if (same_values(grid, shifted)) return shifted;
  return std::nullopt;
}

std::optional<Uniform> to_uniform(const BitPlanes& g) {
  const size_t channels = channels_of(g);
  std::vector<float> step(channels), first(channels);
  for (size_t c = 0; c < channels; ++c) {
    step[c] = at(g.basis[0], c);
    first[c] = at(g.offset, c);
  }
  return uniform_from(g, step, first);
}

std::optional<Uniform> to_uniform(const Codebook& g) {
  const auto gaps = static_cast<double>(g.levels.size() - 1);
  const double range = static_cast<double>(g.levels.back()) - g.levels.front();
  const float step = g.levels.size() > 1 ? static_cast<float>(range / gaps) : 1.0f;
  return uniform_from(g, {step}, {g.levels.front()});
}

/// Number of planes of a grid with this many levels, or -1.
int planes_for(int64_t levels) {
  for (int planes = 1; planes <= 8; ++planes) {
    if (levels == int64_t{1} << planes) return planes;
  }
  return -1;
}

}  // namespace

int64_t level_count(const Grid& grid) {
  if (const auto* g = std::get_if<Uniform>(&grid)) return int64_t{g->hi} - g->lo + 1;
  if (const auto* g = std::get_if<BitPlanes>(&grid)) return int64_t{1} << g->basis.size();
  if (const auto* g = std::get_if<Codebook>(&grid)) return static_cast<int64_t>(g->levels.size());
  return 0;
}

int64_t channel_count(const Grid& grid) {
  if (const auto* g = std::get_if<Uniform>(&grid)) return static_cast<int64_t>(channels_of(*g));
  if (const auto* g = std::get_if<BitPlanes>(&grid)) return static_cast<int64_t>(channels_of(*g));
  return 1;
}

std::vector<float> levels_of(const Grid& grid, int64_t channel) {
  const auto c = static_cast<size_t>(channel);
  std::vector<float> levels(static_cast<size_t>(level_count(grid)));
  for (size_t code = 0; code < levels.size(); ++code) {
    // In double: products with small integers and sums of a few floats of similar size are exact there, so that equal
    // grids of different kinds round to equal floats.
    double value = 0;
    if (const auto* uniform = std::get_if<Uniform>(&grid)) {
      value =
          at(uniform->offset, c) + static_cast<double>(at(uniform->scale, c)) * (uniform->lo + static_cast<int>(code));
    } else if (const auto* planes = std::get_if<BitPlanes>(&grid)) {
      value = at(planes->offset, c);
      for (size_t k = 0; k < planes->basis.size(); ++k) {
        if (code >> k & 1) value += at(planes->basis[k], c);
      }
    } else {
      value = std::get<Codebook>(grid).levels[code];
    }
    levels[code] = static_cast<float>(value);
  }
  return levels;
}

void check_grid(const Grid& grid, int64_t channels) {
  std::visit(Checker{channels}, grid);
  check_levels(grid, channel_count(grid));
}

std::optional<Uniform> as_uniform(const Grid& grid) {
  check_grid(grid, channel_count(grid));
  if (const auto* g = std::get_if<Uniform>(&grid)) return *g;
  if (const auto* g = std::get_if<BitPlanes>(&grid)) return to_uniform(*g);
  if (const auto* g = std::get_if<Codebook>(&grid)) return to_uniform(*g);
  return std::nullopt;
}

std::optional<BitPlanes> as_bitplanes(const Grid& grid) {
  check_grid(grid, channel_count(grid));
  if (const auto* g = std::get_if<BitPlanes>(&grid)) return *g;
  const int planes = planes_for(level_count(grid));
  if (planes < 0) return std::nullopt;
  BitPlanes result{{}, std::vector<std::vector<float>>(static_cast<size_t>(planes))};
  for (int64_t c = 0; c < channel_count(grid); ++c) {
    const std::vector<float> levels = levels_of(grid, c);
    result.offset.push_back(levels[0]);
    for (int k = 0; k < planes; ++k) {
      const auto* uniform = std::get_if<Uniform>(&grid);
      const double step = uniform ? std::ldexp(static_cast<double>(at(uniform->scale, static_cast<size_t>(c))), k)
                                  : static_cast<double>(levels[size_t{1} << k]) - levels[0];
      result.basis[static_cast<size_t>(k)].push_back(static_cast<float>(step));
    }
  }
  if (!same_values(grid, result)) return std::nullopt;
  return result;
}

}  // namespace nibble
