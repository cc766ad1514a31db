#include "quant/output_placement.h"

#include <algorithm>
#include <map>

namespace nibble {

namespace {

constexpr const char* kInput = "input";

bool is_pointwise(const Node& node) { return node.inputs.size() == 1 && node.layer->facts().pointwise.has_value(); }

/// A pointwise layer that only clamps: what can be fused with an add or a concat. A batch norm needs a product per
/// channel, and the paper quantizes a sum unless an activation follows it.
bool only_clamps(const Node& node) {
  const AffineClamp map = *node.layer->facts().pointwise;
  const auto all = [](const std::vector<float>& list, float value) {
    return std::ranges::all_of(list, [value](float v) { return v == value; });
  };
  return all(map.a, 1) && all(map.b, 0);
}

/// A layer with values of its own, not only such of its inputs, or a concat, whose parts are to share a scale.
bool computes(const Node& node) {
  const Facts facts = node.layer->facts();
  return node.layer->weight_slot() != nullptr || facts.gemm.has_value() || facts.join != Join::none ||
         (facts.window && facts.window->mean);
}

}  // namespace

std::vector<OutputSite> output_sites(const Graph& graph) {
  std::map<std::string, std::vector<const Node*>> readers;
  for (const Node& node : graph.nodes())
    for (const std::string& input : node.inputs) readers[input].push_back(&node);
  const std::vector<std::string> outputs = graph.outputs();

  std::vector<OutputSite> sites{{kInput, kInput}};
  std::map<std::string, std::string> fused;  // a node whose output goes into its only reader's, by its head
  for (const Node& node : graph.nodes()) {
    const bool pointwise = is_pointwise(node);
    if (!pointwise && !computes(node)) continue;
    const auto before = pointwise ? fused.find(node.inputs[0]) : fused.end();
    const std::string head = before == fused.end() ? node.name : before->second;
    const std::vector<const Node*>& next = readers[node.name];
    const bool alone = next.size() == 1 && std::ranges::count(outputs, node.name) == 0;
    const Facts begin = graph.node(head).layer->facts();
    const bool has_factors = begin.join == Join::none && !begin.window;
    const bool fits = alone && is_pointwise(*next[0]) && (has_factors || only_clamps(*next[0]));
    if (fits || (alone && next[0]->layer->facts().join == Join::channels))
      fused[node.name] = head;
    else
      sites.push_back({node.name, head});
  }
  return sites;
}

Graph quantize_outputs(const Graph& graph, const MakeQuantizer& make) {
  std::map<std::string, std::shared_ptr<Layer>> quantizers;
  for (const OutputSite& site : output_sites(graph)) {
    if (std::shared_ptr<Layer> quantizer = make(site)) quantizers[site.after] = std::move(quantizer);
  }
  Graph result(graph.input_shape());
  std::map<std::string, std::string> now;  // what takes the place of a site
  const auto quantize = [&](const std::string& name) {
    if (const auto found = quantizers.find(name); found != quantizers.end())
      now[name] = result.add(name + ".out", found->second, {name});
  };
  quantize(kInput);
  for (const Node& node : graph.nodes()) {
    std::vector<std::string> inputs = node.inputs;
    for (std::string& input : inputs) {
      if (const auto found = now.find(input); found != now.end()) input = found->second;
    }
    result.add(node.name, node.layer, inputs);
    quantize(node.name);
  }
  std::vector<std::string> outputs = graph.outputs();
  for (std::string& name : outputs) {
    if (const auto found = now.find(name); found != now.end()) name = found->second;
  }
  result.set_outputs(outputs);
  return result;
}

}  // namespace nibble
