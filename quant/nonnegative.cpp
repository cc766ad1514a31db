#include "quant/nonnegative.h"

#include <algorithm>
#include <map>

namespace nibble {

namespace {

bool at_least_zero(float v) { return v >= 0; }

bool has_no_negative_level(const Grid& grid) {
  for (int64_t c = 0; c < channel_count(grid); ++c)
    if (!std::ranges::all_of(levels_of(grid, c), at_least_zero)) return false;
  return true;
}

}  // namespace

bool is_nonnegative(const Graph& graph, const std::string& edge) {
  std::map<std::string, bool> known{{"input", false}};
  for (const Node& node : graph.nodes()) {
    const Facts facts = node.layer->facts();
    const bool keeps = facts.selects || facts.move || facts.window || facts.join != Join::none;
    bool result = facts.softmax;
    if (facts.pointwise) result = std::ranges::all_of(facts.pointwise->lo, at_least_zero);
    if (facts.snaps_to) result = has_no_negative_level(*facts.snaps_to);
    if (keeps) result = std::ranges::all_of(node.inputs, [&](const std::string& input) { return known.at(input); });
    known[node.name] = result;
    if (node.name == edge) break;
  }
  return known.at(edge);
}

}  // namespace nibble
