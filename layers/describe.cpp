#include "layers/describe.h"

#include <bit>

namespace nibble {
namespace {

NodeInfo describe_node(const Node& node, const Tensor& y) {
  NodeInfo info;
  info.name = node.name;
  info.type = node.layer->type();
  info.inputs = node.inputs;
  info.output = y.shape();
  info.parameters = parameter_count(*node.layer);
  const Facts facts = node.layer->facts();
  if (facts.gemm) {
    const int64_t outputs_per_channel = y.numel() / y.dim(0) / y.dim(-1);
    info.macs = outputs_per_channel * facts.gemm->weight.numel();
    info.weight_bits = bits_of(facts.gemm->weight_grid);
  }
  if (facts.snaps_to) info.activation_bits = bits_of(*facts.snaps_to);
  return info;
}

}  // namespace

int bits_of(const Grid& grid) {
  const int64_t levels = level_count(grid);
  return levels == 0 ? 32 : static_cast<int>(std::bit_width(static_cast<uint64_t>(levels - 1)));
}

std::vector<NodeInfo> describe(const Graph& graph) {
  const Shape& sample = graph.input_shape();
  NIBBLE_CHECK(sample.rank() > 0, "graph: the shape of a sample is not known");
  std::vector<int64_t> dims{1};
  dims.insert(dims.end(), sample.begin(), sample.end());
  std::vector<NodeInfo> table;
  graph.forward(Tensor::zeros(Shape(std::span<const int64_t>(dims))), {},
                [&table](const Node& node, const Tensor& y) { table.push_back(describe_node(node, y)); });
  return table;
}

}  // namespace nibble
