#include "quant/lowering/graph_view.h"

namespace nibble {

GraphView::GraphView(const Graph& graph) : graph_(graph) {
  for (const Node& node : graph.nodes()) {
    try {
      facts_.emplace(node.name, node.layer->facts());
    } catch (const Error& error) {
      throw Error(concat_text(node.layer->type(), " '", node.name, "': ", error.what()));
    }
    for (const std::string& input : node.inputs) readers_[input].push_back(&node);
  }
  for (const std::string& name : graph.outputs()) outputs_.insert(name);
}

const Node* GraphView::sole_reader(const std::string& name) const {
  const auto found = readers_.find(name);
  if (found == readers_.end() || found->second.size() != 1 || outputs_.contains(name)) return nullptr;
  return found->second[0];
}

std::vector<const Node*> GraphView::pointwise_after(const Node& node) const {
  std::vector<const Node*> chain;
  for (const Node* next = sole_reader(node.name); next != nullptr; next = sole_reader(next->name)) {
    if (!facts(*next).pointwise || next->inputs.size() != 1) break;
    chain.push_back(next);
  }
  return chain;
}

std::optional<Closing> GraphView::any_closing(const Node& node) const {
  const Node* next = sole_reader(node.name);
  Closing closing;
  if (next != nullptr && facts(*next).join == Join::channels) {
    closing.behind_join = true;
    next = sole_reader(next->name);
  }
  if (next == nullptr || !facts(*next).snaps_to) return std::nullopt;
  std::string why;
  const std::optional<Coding> coding = coding_of(*facts(*next).snaps_to, why);
  if (!coding) return std::nullopt;
  closing.grid = *facts(*next).snaps_to;
  closing.coding = *coding;
  closing.quantizer = next;
  return closing;
}

std::optional<Closing> GraphView::closing(const Node& node) const {
  std::optional<Closing> found = any_closing(node);
  if (found && !rounds(found->grid, found->coding)) return std::nullopt;
  return found;
}

bool rounds(const Grid& grid, const Coding& coding) {
  return std::holds_alternative<Uniform>(grid) && coding.uniform() && coding.unit == 1;
}

}  // namespace nibble
