#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "quant/lowering/lower.h"
#include "quant/lowering/parity.h"
#include "quant/policy.h"
#include "tests/layers/support.h"

namespace nibble::test {

/// A network whose quantizers have seen a few batches, as after training or calibration.
inline Graph quantized_network(const Json& model, const Json& rules, uint64_t seed = 7) {
  const Graph graph = quantize(trained_model(model, seed), Config(rules));
  const Shape& sample = graph.input_shape();
  std::vector<int64_t> dims{6};
  dims.insert(dims.end(), sample.begin(), sample.end());
  Rng rng(seed);
  const TrainClock clock;
  const NoRecord guard;
  for (uint64_t batch = 0; batch < 3; ++batch) {
    const Tensor x = normal_tensor(Shape(std::span<const int64_t>(dims)), seed + 100 * batch);
    graph.forward(x, {Mode::train, &rng, static_cast<int64_t>(batch), &clock});
  }
  return graph;
}

/// Everything in front of and behind the network is quantized, too: integers from the image to the logits.
inline Json integer_rules(const Json& weight, bool fold) {
  Json rule{{"match", "*"}, {"place", "outputs"}, {"weight", weight}, {"act", {{"type", "affine"}}}};
  if (!fold) return Json::array({rule});
  Json folding = rule;
  folding["match"] = "*conv*|*shortcut.0|*downsample.0|stem|left|dw*|pw*";
  folding["fold_batch_norm"] = Json::object();
  return Json::array({folding, rule});
}

/// Quantizers in front of every layer; the first convolution stays real unless `first`.
inline Json input_rules(const Json& weight, const Json& act) {
  return Json::array({{{"match", "conv1|conv1_1|stem"}}, {{"match", "*"}, {"weight", weight}, {"act", act}}});
}

/// Names the edges that break the contract; "" if none does.
inline std::string broken_edges(const Graph& eval, const Lowered& lowered, const Tensor& x) {
  std::string text;
  const LowerOptions options{.epilogue = lowered.epilogue, .engine = "float"};
  for (const EdgeParity& edge : compare(eval, evaluated(eval, options).graph, lowered.graph, x).edges) {
    const std::string what = broken(edge);
    if (!what.empty()) text += edge.node + " (" + edge.type + "): " + what + "; ";
  }
  return text;
}

inline Tensor images(const Graph& graph, int64_t n, uint64_t seed) {
  std::vector<int64_t> dims{n};
  dims.insert(dims.end(), graph.input_shape().begin(), graph.input_shape().end());
  return normal_tensor(Shape(std::span<const int64_t>(dims)), seed);
}

inline int64_t count_of(const Graph& graph, const std::string& type) {
  return std::ranges::count_if(graph.nodes(), [&](const Node& node) { return node.layer->type() == type; });
}

/// The nodes that still compute in float, and why.
inline std::string float_nodes(const Lowered& lowered) {
  std::string names;
  for (const Decision& d : lowered.report)
    if (d.became == "float") names += d.node + " (" + (d.refusals.empty() ? "" : d.refusals[0]) + ") ";
  return names;
}

inline Json resnet_json(const std::string& order, const std::string& shortcut, const std::string& pool = "subsample") {
  return {{"type", "resnet_cifar"}, {"depth", 8},   {"width", 5},   {"order", order},
          {"shortcut", shortcut},   {"pool", pool}, {"classes", 7}, {"input", {9, 9, 3}}};
}

}  // namespace nibble::test
