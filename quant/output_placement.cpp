#include "quant/output_placement.h"

#include <algorithm>
#include <map>

namespace nibble {

namespace {

constexpr const char* kInput = "input";

bool is_pointwise(const Node& node) { return node.inputs.size() == 1 && node.layer->facts().pointwise.has_value(); }

/// A layer with values of its own, that is, none that only picks or joins its inputs'.
bool computes(const Node& node) {
  return node.layer->weight_slot() != nullptr || node.layer->type() == "add" || node.layer->type() == "concat" ||
         node.layer->facts().gemm.has_value();
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
    if (alone && (is_pointwise(*next[0]) || next[0]->layer->type() == "concat"))
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
