#include "layers/fuse.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "layers/add.h"
#include "layers/batch_norm.h"
#include "layers/clamp_quantize.h"
#include "layers/norm_clamp.h"
#include "layers/quantized_ahead.h"
#include "layers/relu.h"
#include "layers/relu6.h"

namespace nibble {

namespace {

/// What became of a chain: the last node's layer, what that reads, and the nodes that are gone.
struct Match {
  Fusion fusion;
  std::shared_ptr<Layer> layer;
  std::vector<std::string> inputs;
  std::shared_ptr<QuantizedAhead> ahead;  ///< the layer of `quantizer`, which is a node of its own, or null
  std::string quantizer;
};

class Finder {
 public:
  explicit Finder(const Graph& graph) : graph_(graph) {
    for (const Node& node : graph.nodes())
      for (const std::string& input : node.inputs) readers_[input].push_back(&node);
    for (const std::string& name : graph.outputs()) readers_[name].push_back(nullptr);
  }

  /// The chain around a clamp.
  std::optional<Match> match(const Node& clamp) const {
    std::optional<Chain> chain = norm_clamp(clamp);
    if (!chain) return clamp_quantize(clamp);
    const auto readers = readers_.find(clamp.name);
    // With more readers the gradients would be added in another order.
    if (readers != readers_.end() && readers->second.size() <= 2) {
      const auto found = std::ranges::find_if(readers->second, quantizes);
      if (found != readers->second.end()) chain->quantizer = *found;
      chain->shared = readers->second.size() == 2;
    }
    return built(*chain);
  }

 private:
  static bool quantizes(const Node* node) {
    return node != nullptr && dynamic_cast<const ElementwiseQuantizer*>(node->layer.get()) != nullptr;
  }

  /// The node of that name if it has such a layer and its output goes to one place only.
  template <class L>
  const Node* only_reader_of(const std::string& name) const {
    if (!graph_.contains(name) || readers_.at(name).size() != 1) return nullptr;
    const Node& node = graph_.node(name);
    return dynamic_cast<const L*>(node.layer.get()) != nullptr ? &node : nullptr;
  }

  static std::optional<float> bound_of(const Layer& layer) {
    if (dynamic_cast<const Relu*>(&layer) != nullptr) return kNoBound;
    if (dynamic_cast<const Relu6*>(&layer) != nullptr) return 6.0f;
    return {};
  }

  /// A batch norm, the sum behind it and what that adds, the clamp and the quantizer, which can be one of two readers.
  struct Chain {
    const Node *norm, *sum;
    std::string residual;
    const Node* clamp;
    float most;
    const Node* quantizer = nullptr;
    bool shared = false;
  };

  std::optional<Chain> norm_clamp(const Node& clamp) const {
    const std::optional<float> most = bound_of(*clamp.layer);
    if (!most || clamp.inputs.size() != 1) return {};
    if (const Node* norm = only_reader_of<BatchNorm>(clamp.inputs[0])) return Chain{norm, nullptr, {}, &clamp, *most};
    const Node* sum = only_reader_of<Add>(clamp.inputs[0]);
    if (sum == nullptr || sum->inputs.size() != 2) return {};
    // Where both come from a batch norm the one of the main branch, by convention the first, is taken.
    for (const size_t i : {size_t{0}, size_t{1}})
      if (const Node* norm = only_reader_of<BatchNorm>(sum->inputs[i]))
        return Chain{norm, sum, sum->inputs[1 - i], &clamp, *most};
    return {};
  }

  /// A clamp that only a quantizer reads, with the sum in front of it.
  std::optional<Match> clamp_quantize(const Node& clamp) const {
    const std::optional<float> most = bound_of(*clamp.layer);
    const auto readers = readers_.find(clamp.name);
    if (!most || readers == readers_.end() || readers->second.size() != 1 || !quantizes(readers->second[0])) return {};
    const Node& quantizer = *readers->second[0];
    Match match{{"clamp_quantize", {}}, nullptr, clamp.inputs, nullptr, {}};
    if (const Node* sum = only_reader_of<Add>(clamp.inputs[0]); sum != nullptr && sum->inputs.size() == 2) {
      match.inputs = sum->inputs;
      match.fusion.absorbed.push_back(sum->name);
    }
    match.fusion.absorbed.insert(match.fusion.absorbed.end(), {clamp.name, quantizer.name});
    match.layer =
        std::make_shared<ClampQuantize>(*most, std::dynamic_pointer_cast<ElementwiseQuantizer>(quantizer.layer));
    return match;
  }

  static Match built(const Chain& chain) {
    Match match{{}, nullptr, chain.norm->inputs, nullptr, {}};
    if (chain.sum != nullptr) match.inputs.push_back(chain.residual);
    for (const Node* node : {chain.norm, chain.sum, chain.clamp})
      if (node != nullptr) match.fusion.absorbed.push_back(node->name);
    std::shared_ptr<ElementwiseQuantizer> quantizer;
    if (chain.quantizer != nullptr) {
      quantizer = std::dynamic_pointer_cast<ElementwiseQuantizer>(chain.quantizer->layer);
      if (chain.shared) {
        match.ahead = std::make_shared<QuantizedAhead>(std::exchange(quantizer, nullptr));
        match.quantizer = chain.quantizer->name;
      } else {
        match.fusion.absorbed.push_back(chain.quantizer->name);
      }
    }
    match.layer = std::make_shared<NormClamp>(std::static_pointer_cast<BatchNorm>(chain.norm->layer), chain.most,
                                              quantizer, match.ahead);
    match.fusion.rule = match.layer->type();
    return match;
  }

  const Graph& graph_;
  std::map<std::string, std::vector<const Node*>> readers_;  ///< null for whoever runs the graph
};

}  // namespace

FusedGraph fuse(const Graph& graph) {
  const Finder finder(graph);
  std::map<std::string, Match> matches;  // by the last node
  std::map<std::string, std::shared_ptr<Layer>> ahead;
  std::set<std::string> gone;
  for (const Node& node : graph.nodes())
    if (std::optional<Match> match = finder.match(node)) {
      const std::vector<std::string>& absorbed = match->fusion.absorbed;
      gone.insert(absorbed.begin(), absorbed.end() - 1);
      if (match->ahead) ahead.emplace(match->quantizer, match->ahead);
      matches.emplace(absorbed.back(), std::move(*match));
    }
  FusedGraph result{Graph(graph.input_shape()), {}};
  for (const Node& node : graph.nodes()) {
    const auto match = matches.find(node.name);
    if (match != matches.end()) {
      result.graph.add(node.name, match->second.layer, match->second.inputs);
      result.fusions.push_back(match->second.fusion);
    } else if (!gone.contains(node.name)) {
      const auto done = ahead.find(node.name);
      result.graph.add(node.name, done == ahead.end() ? node.layer : done->second, node.inputs);
    }
  }
  if (!graph.nodes().empty()) result.graph.set_outputs(graph.outputs());
  return result;
}

}  // namespace nibble
