#include "layers/describe.h"

#include <bit>
#include <map>

#include "layers/packed.h"
#include "layers/quantizer.h"
#include "layers/weight_slot.h"

namespace nibble {
namespace {

class FloatCounter final : public StateVisitor {
 public:
  int64_t count = 0;

 private:
  void on_param(const std::string&, Tensor& tensor, const ParamTraits&) override { add(tensor); }
  void on_buffer(const std::string&, Tensor& tensor) override { add(tensor); }
  void add(const Tensor& tensor) {
    if (tensor.defined() && tensor.dtype() == DType::f32) count += tensor.numel();
  }
};

constexpr int64_t kFloatBits = 32;

void measure(NodeInfo& info, const Node& node, const Facts& facts) {
  FloatCounter state;
  node.layer->visit(state);
  info.size_bits = info.float_bits = kFloatBits * state.count;
  if (dynamic_cast<const Quantizer*>(node.layer.get()) != nullptr) info.float_bits = 0;
  const WeightSlot* slot = node.layer->weight_slot();
  if (!facts.gemm || slot == nullptr || slot->empty()) return;
  const int64_t bias = kFloatBits * static_cast<int64_t>(facts.gemm->bias.size());
  info.float_bits = kFloatBits * info.weights + bias;
  if (info.weight_bits < kFloatBits)
    info.size_bits = info.weights * info.weight_bits + kFloatBits * grid_numbers(facts.gemm->weight_grid) + bias;
}

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
    info.weights = facts.gemm->weight.numel();
    info.macs = outputs_per_channel * info.weights;
    info.weight_bits = packed_bits(facts.gemm->weight_grid);
    info.per_channel = channel_count(facts.gemm->weight_grid) > 1;
  }
  if (const WeightSlot* slot = node.layer->weight_slot()) info.weight_quantizer = slot->config().json;
  if (facts.snaps_to) info.activation_bits = bits_of(*facts.snaps_to);
  measure(info, node, facts);
  return info;
}

/// What the values on an edge have passed through last.
struct Edge {
  Json quantizer{};
  int bits = 32;
};

/// Fills in what a row takes over from the rows before it.
void follow_edges(const Graph& graph, std::vector<NodeInfo>& table) {
  std::map<std::string, Edge> edges;
  for (size_t i = 0; i < table.size(); ++i) {
    NodeInfo& info = table[i];
    const Layer& layer = *graph.nodes()[i].layer;
    Edge edge = edges[info.inputs[0]];
    info.input_quantizer = edge.quantizer;
    if (dynamic_cast<const Quantizer*>(&layer) != nullptr) {
      edge.quantizer = {{"type", info.type}};
      edge.quantizer.update(layer.config());
      edge.bits = info.activation_bits;
    } else if (!layer.facts().selects) {
      edge = {};
    }
    info.activation_bits = edge.bits;
    edges[info.name] = edge;
  }
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
  follow_edges(graph, table);
  return table;
}

}  // namespace nibble
