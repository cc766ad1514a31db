#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "layers/graph.h"
#include "quant/lowering/coding.h"

namespace nibble {

/// Where a quantizer closes what comes before it.
struct Closing {
  Grid grid;
  Coding coding;
  const Node* quantizer = nullptr;
  bool behind_join = false;  ///< there is a concat between, which keeps the quantizer for itself
};

/// Whether a value becomes its code by scaling and rounding, with a level at 0: what integer modules do.
bool rounds(const Grid& grid, const Coding& coding);

/// A graph with each node's facts and readers.
class GraphView {
 public:
  explicit GraphView(const Graph& graph);

  const Graph& graph() const { return graph_; }
  const Facts& facts(const Node& node) const { return facts_.at(node.name); }
  /// The only reader of a node that is no output of the graph, or null.
  const Node* sole_reader(const std::string& name) const;
  /// The pointwise layers that follow a node, each the sole reader of the one before.
  std::vector<const Node*> pointwise_after(const Node& node) const;
  /// The quantizer that is the sole reader of a node, or of a concat that is, if its values have codes.
  std::optional<Closing> any_closing(const Node& node) const;
  /// The same if its output can come straight out of an integer module: a uniform grid with 0 on it.
  std::optional<Closing> closing(const Node& node) const;

 private:
  const Graph& graph_;
  std::map<std::string, Facts> facts_;
  std::map<std::string, std::vector<const Node*>> readers_;
  std::set<std::string> outputs_;
};

}  // namespace nibble
