#include "quant/lowering/first_output.h"

#include <algorithm>
#include <set>

namespace nibble {

FirstOutput first_output(const Graph& graph) {
  if (graph.nodes().empty()) return {graph, {}};
  const std::string output = graph.outputs().front();
  std::set<std::string> needed{output};
  const std::vector<Node>& nodes = graph.nodes();
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node)
    if (needed.contains(node->name)) needed.insert(node->inputs.begin(), node->inputs.end());
  FirstOutput result{Graph(graph.input_shape()), {}};
  for (const Node& node : nodes) {
    if (needed.contains(node.name))
      result.graph.add(node.name, node.layer, node.inputs);
    else
      result.dropped.push_back(node.name);
  }
  result.graph.set_outputs({output});
  return result;
}

}  // namespace nibble
