#include "quant/lowering/lowered_model.h"

#include <algorithm>

#include "core/allocator.h"
#include "layers/checkpoint.h"
#include "quant/lowering/lower.h"
#include "quant/lowering/lowered_layer.h"

namespace nibble {

namespace {

bool is_lowered(const Graph& graph) {
  return std::ranges::any_of(
      graph.nodes(), [](const Node& node) { return dynamic_cast<const LoweredLayer*>(node.layer.get()) != nullptr; });
}

/// One image of zeros; undefined if the network does not say of what shape.
Tensor blank_image(const Graph& graph) {
  const Shape& sample = graph.input_shape();
  if (sample.rank() == 0) return {};
  std::vector<int64_t> dims{1};
  dims.insert(dims.end(), sample.begin(), sample.end());
  const Shape shape{std::span<const int64_t>(dims)};
  NIBBLE_CHECK(shape.numel() <= kMostActivations, "the network's input ", sample, " has more than the ",
               kMostActivations, " values that are accepted");
  return Tensor::zeros(shape);
}

}  // namespace

void check_lowered(const Graph& graph) {
  if (!is_lowered(graph)) return;
  codings_of(graph);
  // Shapes are facts of a run, not of the options, so this is where numbers of channels that differ show.
  const Tensor blank = blank_image(graph);
  if (blank.defined()) graph.forward_all(blank, {Mode::eval});
}

Graph load_lowered(const std::string& path) {
  Graph graph = map_checkpoint(path).graph;
  NIBBLE_CHECK(is_lowered(graph), path, ": the network computes in float; lower it with 'nibble lower ", path,
               " -o MODEL'");
  try {
    check_lowered(graph);
  } catch (const Error& error) {
    throw Error(concat_text(path, ": ", error.what()));
  }
  // What loading and the blank image needed is not what running needs.
  release_unused_memory();
  return graph;
}

int64_t plan_bytes(const Graph& graph) {
  int64_t bytes = 0;
  for (const Node& node : graph.nodes())
    if (const auto* layer = dynamic_cast<const LoweredLayer*>(node.layer.get())) bytes += layer->plan_bytes();
  return bytes;
}

}  // namespace nibble
