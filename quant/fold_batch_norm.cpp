#include "quant/fold_batch_norm.h"

#include <algorithm>
#include <map>

#include "layers/batch_norm.h"
#include "layers/conv2d.h"
#include "layers/linear.h"

namespace nibble {

namespace {

using State = std::map<std::string, Tensor>;

class Collector final : public StateVisitor {
 public:
  State found;

 private:
  void on_param(const std::string& name, Tensor& tensor, const ParamTraits&) override { found[name] = tensor; }
  void on_buffer(const std::string& name, Tensor& tensor) override { found[name] = tensor; }
};

State state_of_layer(Layer& layer) {
  Collector collector;
  layer.visit(collector);
  return collector.found;
}

/// The batch_norm that alone reads a node, or null.
const Node* folding_norm(const Graph& graph, const Node& node) {
  if (dynamic_cast<const Conv2d*>(node.layer.get()) == nullptr &&
      dynamic_cast<const Linear*>(node.layer.get()) == nullptr)
    return nullptr;
  if (std::ranges::count(graph.outputs(), node.name) > 0) return nullptr;
  const Node* reader = nullptr;
  for (const Node& other : graph.nodes()) {
    if (std::ranges::count(other.inputs, node.name) == 0) continue;
    if (reader != nullptr) return nullptr;
    reader = &other;
  }
  const bool norm = reader != nullptr && dynamic_cast<const BatchNorm*>(reader->layer.get()) != nullptr;
  return norm ? reader : nullptr;
}

std::shared_ptr<Layer> folded_layer(const Node& node, const Node& norm, const FoldOptions& options) {
  NIBBLE_CHECK(node.layer->weight_slot()->empty(), "fold_batch_norm: '", node.name,
               "' already has a weight quantizer; fold before quantizing");
  Json json = node.layer->config(), normalised = norm.layer->config();
  json.erase("bias");
  normalised.erase("channels");
  json.update(normalised);
  json["type"] = std::string(node.layer->type()) + "_bn";
  json["mode"] = options.mode;
  json["freeze"] = options.freeze;
  json["freeze_share"] = options.freeze_share;
  std::shared_ptr<Layer> folded = Registry<Layer>::get().make(Config(std::move(json)));

  const State from = state_of_layer(*node.layer), statistics = state_of_layer(*norm.layer);
  State to = state_of_layer(*folded);
  to.at("weight").copy_from(from.at("weight"));
  for (const auto& [name, tensor] : statistics) to.at("bn." + name).copy_from(tensor);
  if (const auto bias = from.find("bias"); bias != from.end()) {
    const auto mean = to.at("bn.running_mean").mutable_data<float>();
    for (size_t c = 0; c < mean.size(); ++c) mean[c] -= bias->second.data<float>()[c];
  }
  return folded;
}

}  // namespace

void FoldOptions::fields(Fields& f) {
  f.choice("mode", mode, {"corrected", "plain"}, "whose statistics normalise in training: see conv2d_bn");
  f("freeze", freeze, "training passes after which the running statistics are frozen; -1: by freeze_share",
    {-1, static_cast<double>(int64_t{1} << 50)});
  f("freeze_share", freeze_share, "last part of the training steps in which they are frozen; 0 for none", kFraction);
}

Graph fold_batch_norm(const Graph& graph, const FoldOptions& options, const std::function<bool(const Node&)>& wanted) {
  const Graph copy = graph.clone();
  std::map<std::string, std::string> replaced;  // a folded batch norm by the node that does its work
  Graph result(copy.input_shape());
  for (const Node& node : copy.nodes()) {
    if (replaced.contains(node.name)) continue;
    std::vector<std::string> inputs = node.inputs;
    for (std::string& input : inputs) {
      if (const auto found = replaced.find(input); found != replaced.end()) input = found->second;
    }
    const Node* norm = !wanted || wanted(node) ? folding_norm(copy, node) : nullptr;
    result.add(node.name, norm == nullptr ? node.layer : folded_layer(node, *norm, options), inputs);
    if (norm != nullptr) replaced[norm->name] = node.name;
  }
  std::vector<std::string> outputs = copy.outputs();
  for (std::string& name : outputs) {
    if (const auto found = replaced.find(name); found != replaced.end()) name = found->second;
  }
  result.set_outputs(outputs);
  return result;
}

}  // namespace nibble
