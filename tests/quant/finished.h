#pragma once

#include "layers/weight_slot.h"
#include "quant/policy.h"
#include "tests/layers/support.h"

/// Small quantized networks with a weight that looks finished.
namespace nibble::test {

/// conv -> bn -> relu -> max pool -> flatten -> fc.
inline Graph plain_net(uint64_t seed = 1) {
  Graph graph(Shape{6, 6, 2});
  graph.add("conv", {{"type", "conv2d"}, {"in", 2}, {"out", 4}, {"kernel", 3}, {"pad", 1}, {"bias", false}}, {"input"});
  graph.add("bn", {{"type", "batch_norm"}, {"channels", 4}}, {"conv"});
  graph.add("relu", {{"type", "relu"}}, {"bn"});
  graph.add("pool", {{"type", "max_pool"}}, {"relu"});
  graph.add("flat", {{"type", "flatten"}}, {"pool"});
  graph.add("fc", {{"type", "linear"}, {"in", 36}, {"out", 3}}, {"flat"});
  graph.initialize(seed);
  for (const NamedTensor& entry : state_of(graph))
    if (entry.tensor.rank() == 1) entry.tensor.copy_from(random_tensor(entry.tensor.shape(), ++seed, 0.5f, 1.5f));
  return graph;
}

inline Graph quantized_net(const Json& rule, uint64_t seed = 1) {
  Json all = rule;
  all["match"] = "*";
  return quantize(plain_net(seed), Config(Json::array({all})));
}

inline Tensor images(int64_t count, uint64_t seed = 9) { return normal_tensor({count, 6, 6, 2}, seed); }

/// The named tensor of a graph's state.
inline Tensor state(const Graph& graph, const std::string& name) {
  for (const NamedTensor& entry : state_of(graph))
    if (entry.name == name) return entry.tensor;
  throw Error("there is no state '" + name + "'");
}

/// Runs incremental quantizers through all their phases, as training does.
inline void finish_phases(const Graph& graph) {
  for (const Node& node : graph.nodes()) {
    const WeightSlot* slot = node.layer->weight_slot();
    if (slot == nullptr || slot->empty() || !slot->get()->mask().defined()) continue;
    const Tensor weight = state(graph, node.name + ".weight").detach();
    const int phases = slot->get()->phases();
    for (int phase = 0; phase < phases; ++phase) {
      const TrainClock clock{
          .step = phase, .total_steps = phases, .phase = phase, .phases = phases, .lr = 0.01, .lr_share = 0.25};
      slot->get()->forward({&weight, 1}, {.mode = Mode::train, .rng = nullptr, .step = phase, .clock = &clock});
      slot->get()->constrain(weight);
    }
  }
}

/// A weight quantizer of every method.
inline std::vector<Json> weight_methods() {
  std::vector<Json> list;
  for (const char* text :
       {R"({"type": "lsq", "bits": 3})", R"({"type": "lsq", "bits": 8, "per_channel": true})",
        R"({"type": "lq", "bits": 2})", R"({"type": "affine", "bits": 8})",
        R"({"type": "affine", "bits": 4, "per_channel": true})", R"({"type": "twn"})",
        R"({"type": "twn", "per_channel": true})", R"({"type": "ttq"})", R"({"type": "elq"})",
        R"({"type": "elq", "levels": "binary"})", R"({"type": "inq"})", R"({"type": "bwn"})", R"({"type": "xnor"})",
        R"({"type": "bnn"})", R"({"type": "binaryconnect"})", R"({"type": "dorefa", "bits": 1})",
        R"({"type": "dorefa", "bits": 4})", R"({"type": "qil", "bits": 4})", R"({"type": "abc", "bits": 3})"})
    list.push_back(Json::parse(text));
  return list;
}

}  // namespace nibble::test
