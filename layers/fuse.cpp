#include "layers/fuse.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "layers/add.h"
#include "layers/batch_norm.h"
#include "layers/elementwise_quantizer.h"
#include "layers/norm_clamp.h"
#include "layers/relu.h"
#include "layers/relu6.h"

namespace nibble {

namespace {

/// What became of a node that ends a chain: its layer, what that reads, and the nodes that are gone.
struct Match {
  Fusion fusion;
  std::shared_ptr<Layer> layer;
  std::vector<std::string> inputs;
};

class Finder {
 public:
  explicit Finder(const Graph& graph) : graph_(graph) {
    for (const Node& node : graph.nodes())
      for (const std::string& input : node.inputs) ++readers_[input];
    for (const std::string& name : graph.outputs()) ++readers_[name];
  }

  /// The chain that ends in this node, by the rule for it.
  std::optional<Match> match(const Node& last) const {
    const auto quantizer = std::dynamic_pointer_cast<ElementwiseQuantizer>(last.layer);
    const Node* clamp = quantizer && last.inputs.size() == 1 ? only_reader_of<Layer>(last.inputs[0]) : &last;
    if (clamp == nullptr) return {};
    std::optional<Chain> chain = norm_clamp(*clamp);
    if (!chain) return {};
    if (clamp != &last) chain->quantizer = &last;
    return built(*chain, quantizer);
  }

 private:
  /// The node of that name if it has such a layer and its output goes to one place only.
  template <class L>
  const Node* only_reader_of(const std::string& name) const {
    if (!graph_.contains(name) || readers_.at(name) != 1) return nullptr;
    const Node& node = graph_.node(name);
    return dynamic_cast<const L*>(node.layer.get()) != nullptr ? &node : nullptr;
  }

  static std::optional<float> bound_of(const Layer& layer) {
    if (dynamic_cast<const Relu*>(&layer) != nullptr) return kNoBound;
    if (dynamic_cast<const Relu6*>(&layer) != nullptr) return 6.0f;
    return {};
  }

  /// A batch norm, the sum behind it and what that adds, the clamp and the quantizer.
  struct Chain {
    const Node *norm, *sum;
    std::string residual;
    const Node* clamp;
    float most;
    const Node* quantizer;
  };

  std::optional<Chain> norm_clamp(const Node& clamp) const {
    const std::optional<float> most = bound_of(*clamp.layer);
    if (!most || clamp.inputs.size() != 1) return {};
    if (const Node* norm = only_reader_of<BatchNorm>(clamp.inputs[0]))
      return Chain{norm, nullptr, {}, &clamp, *most, nullptr};
    const Node* sum = only_reader_of<Add>(clamp.inputs[0]);
    if (sum == nullptr || sum->inputs.size() != 2) return {};
    // Where both come from a batch norm the one of the main branch, by convention the first, is taken.
    for (const size_t i : {size_t{0}, size_t{1}})
      if (const Node* norm = only_reader_of<BatchNorm>(sum->inputs[i]))
        return Chain{norm, sum, sum->inputs[1 - i], &clamp, *most, nullptr};
    return {};
  }

  static Match built(const Chain& chain, std::shared_ptr<ElementwiseQuantizer> quantizer) {
    std::vector<std::string> inputs = chain.norm->inputs;
    if (chain.sum != nullptr) inputs.push_back(chain.residual);
    Fusion fusion;
    for (const Node* node : {chain.norm, chain.sum, chain.clamp, chain.quantizer})
      if (node != nullptr) fusion.absorbed.push_back(node->name);
    const auto layer = std::make_shared<NormClamp>(std::static_pointer_cast<BatchNorm>(chain.norm->layer),
                                                   chain.clamp->layer, chain.most, std::move(quantizer));
    fusion.rule = layer->type();
    return {std::move(fusion), layer, std::move(inputs)};
  }

  const Graph& graph_;
  std::map<std::string, int> readers_;
};

}  // namespace

FusedGraph fuse(const Graph& graph) {
  const Finder finder(graph);
  std::map<std::string, Match> matches;  // by the last node
  std::set<std::string> gone;
  for (const Node& node : graph.nodes())
    if (std::optional<Match> match = finder.match(node)) {
      gone.insert(match->fusion.absorbed.begin(), match->fusion.absorbed.end() - 1);
      matches.emplace(node.name, std::move(*match));
    }
  FusedGraph result{Graph(graph.input_shape()), {}};
  for (const Node& node : graph.nodes()) {
    if (gone.contains(node.name)) continue;  // a chain can end within a longer one
    const auto match = matches.find(node.name);
    if (match != matches.end()) {
      result.graph.add(node.name, match->second.layer, match->second.inputs);
      result.fusions.push_back(match->second.fusion);
    } else {
      result.graph.add(node.name, node.layer, node.inputs);
    }
  }
  if (!graph.nodes().empty()) result.graph.set_outputs(graph.outputs());
  return result;
}

}  // namespace nibble
