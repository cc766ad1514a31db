#include "quant/kernels/int8_conv/runs.h"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace nibble::int8::detail {
namespace {

constexpr size_t kMostWidth = 16;
/// Runs that a step may still join: more of them make fuller runs, and packing slower.
constexpr size_t kOpenRuns = 48;

/// Sums of the positive and of the negative weights of every lane and pair of codes.
using Load = std::array<uint8_t, 4 * kMostWidth>;

struct Part {
  int32_t quad = 0;
  std::array<int8_t, 4 * kMostWidth> weights{};
  Load load{};
  int32_t weight = 0;  ///< sum of squares of the loads
};

struct Run {
  std::vector<size_t> parts = {};
  Load room;  ///< what is left of kRunWeights

  Run() { room.fill(kRunWeights); }
};

/// Moves to `part` what fits of two neighbouring weights.
void take_pair(int32_t* rest, int8_t* part) {
  const int32_t first = std::clamp(rest[0], -kRunWeights, kRunWeights - 1);
  const bool same_sign = (first < 0) == (rest[1] < 0);
  const int32_t room = same_sign ? kRunWeights - std::abs(first) : kRunWeights;
  const int32_t second = std::clamp(rest[1], -room, std::min(room, kRunWeights - 1));
  part[0] = static_cast<int8_t>(first), part[1] = static_cast<int8_t>(second);
  rest[0] -= first, rest[1] -= second;
}

void add_load(Part& part, size_t values) {
  for (size_t i = 0; i < values; ++i) {
    const size_t at = i / 2 * 2 + (part.weights[i] < 0 ? 1 : 0);
    part.load[at] = static_cast<uint8_t>(part.load[at] + std::abs(part.weights[i]));
  }
}

/// Makes `part` of a whole quad and returns true, if its weights fit; the common case, without branches.
bool take_whole(const int32_t* quad, size_t values, Part& part) {
  int32_t over = 0, any = 0;
  for (size_t i = 0; i < values; i += 2) {
    const int32_t a = quad[i], b = quad[i + 1];
    const int32_t most = std::max(a, 0) + std::max(b, 0), least = std::min(a, 0) + std::min(b, 0);
    over |= (kRunWeights - most) | (kRunWeights + least) | (kRunWeights - 1 - a) | (kRunWeights - 1 - b);
    any |= a | b;
    part.weights[i] = static_cast<int8_t>(a), part.weights[i + 1] = static_cast<int8_t>(b);
    part.load[i] = static_cast<uint8_t>(most), part.load[i + 1] = static_cast<uint8_t>(-least);
  }
  return over >= 0 && any != 0;
}

/// The parts of all quads; none where all weights are 0.
std::vector<Part> split(std::span<const int32_t> weights, size_t values) {
  std::vector<Part> parts;
  parts.reserve(weights.size() / values);
  std::array<int32_t, 4 * kMostWidth> rest;
  for (size_t quad = 0; quad * values < weights.size(); ++quad) {
    const int32_t* from = weights.data() + quad * values;
    if (Part whole{.quad = static_cast<int32_t>(quad)}; take_whole(from, values, whole)) {
      parts.push_back(whole);
      continue;
    }
    std::copy_n(from, values, rest.begin());
    while (std::any_of(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(values), [](int32_t v) { return v; })) {
      Part& part = parts.emplace_back(Part{.quad = static_cast<int32_t>(quad)});
      for (size_t i = 0; i < values; i += 2) take_pair(&rest[i], &part.weights[i]);
      add_load(part, values);
    }
  }
  for (Part& part : parts)
    for (const uint8_t load : part.load) part.weight += load * load;
  return parts;
}

bool fits(const Load& room, const Load& part) {
  uint8_t over = 0;
  for (size_t i = 0; i < room.size(); ++i) over |= static_cast<uint8_t>(std::max(room[i], part[i]) ^ room[i]);
  return over == 0;
}

/// First fit, of the heaviest parts first.
std::vector<Run> gather(const std::vector<Part>& parts) {
  std::vector<size_t> order(parts.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&parts](size_t a, size_t b) { return parts[a].weight > parts[b].weight; });
  std::vector<Run> runs;
  size_t open = 0;
  for (const size_t i : order) {
    const auto from = runs.begin() + static_cast<std::ptrdiff_t>(open);
    auto run = std::find_if(from, runs.end(), [&](const Run& r) { return fits(r.room, parts[i].load); });
    if (run == runs.end()) {
      runs.emplace_back();
      run = runs.end() - 1;
      if (runs.size() - open > kOpenRuns) ++open;
    }
    run->parts.push_back(i);
    for (size_t j = 0; j < run->room.size(); ++j) run->room[j] = static_cast<uint8_t>(run->room[j] - parts[i].load[j]);
  }
  return runs;
}

}  // namespace

PackedRuns pack_runs(std::span<const int32_t> weights, int64_t width) {
  const auto values = static_cast<size_t>(4 * width);
  const std::vector<Part> parts = split(weights, values);
  std::vector<Run> runs = gather(parts);
  std::stable_sort(runs.begin(), runs.end(),
                   [](const Run& a, const Run& b) { return a.parts.size() > b.parts.size(); });
  PackedRuns packed;
  packed.weights.reserve(parts.size() * values);
  for (const Run& run : runs) {
    const auto length = static_cast<int32_t>(run.parts.size());
    if (packed.runs.empty() || packed.runs.back().length != length) packed.runs.push_back({length, 0});
    ++packed.runs.back().count;
    for (const size_t i : run.parts) {
      packed.quads.push_back(parts[i].quad);
      packed.weights.insert(packed.weights.end(), parts[i].weights.begin(),
                            parts[i].weights.begin() + static_cast<std::ptrdiff_t>(values));
    }
  }
  return packed;
}

}  // namespace nibble::int8::detail
