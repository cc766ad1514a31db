#include "quant/lowered_facts.h"

#include <algorithm>
#include <bit>
#include <bitset>
#include <map>

#include "layers/packed.h"
#include "quant/finite_state.h"
#include "quant/lowering/lower.h"
#include "quant/lowering/lowered_layer.h"

namespace nibble {

namespace {

LoweredLayer* lowered_layer(const Node& node) { return dynamic_cast<LoweredLayer*>(node.layer.get()); }

int bits_for_levels(int64_t levels) {
  return std::max(1, static_cast<int>(std::bit_width(static_cast<uint64_t>(levels - 1))));
}

/// Numbers of a layer's state that are no codes.
class NumberCounter final : public StateVisitor {
 public:
  int64_t count = 0;

 private:
  void on_param(const std::string&, Tensor& tensor, const ParamTraits&) override { add(tensor); }
  void on_buffer(const std::string&, Tensor& tensor) override { add(tensor); }
  void add(const Tensor& tensor) {
    if (tensor.defined() && tensor.dtype() != DType::u8) count += tensor.numel();
  }
};

Shape one_sample(const Shape& sample) {
  std::vector<int64_t> dims{1};
  dims.insert(dims.end(), sample.begin(), sample.end());
  return Shape(std::span<const int64_t>(dims));
}

void describe_weight(NodeInfo& info, LoweredLayer& layer, const CodedWeight& weight, const Shape& input) {
  constexpr int64_t kNumberBits = 32;
  const GemmWindow& window = weight.window;
  const bool image = input.rank() == 4;
  const int64_t h = image ? input[1] : 1, w = image ? input[2] : 1;
  info.weights = window.weight_shape().numel();
  info.weight_bits = weight.bits;
  info.macs = window.output(1, h, w, window.padding(h, w)).numel() / window.out * info.weights;
  NumberCounter numbers;
  layer.visit(numbers);
  info.size_bits = info.weights * weight.bits + kNumberBits * numbers.count;
  info.float_bits = kNumberBits * (info.weights + window.out);
}

AuditLine line_of(const Node& node, const char* role) {
  AuditLine line;
  line.node = node.name;
  line.role = role;
  line.method = node.layer->type();
  return line;
}

AuditLine audit_weight(const Node& node, LoweredLayer& layer, const CodedWeight& weight) {
  AuditLine line = line_of(node, "weight");
  line.bits = weight.bits;
  line.levels = int64_t{1} << weight.bits;
  line.elements = weight.window.weight_shape().numel();
  FiniteState state;
  layer.visit(state);
  line.complaints = state.complaints;
  const int64_t expected = packed_bytes(line.elements, weight.bits);
  if (static_cast<int64_t>(weight.codes.bytes()) != expected) {
    line.complaints.push_back(concat_text("expected ", expected, " bytes for ", line.elements, " codes of ",
                                          weight.bits, " bits, found ", weight.codes.bytes()));
    return line;
  }
  std::vector<uint8_t> codes(static_cast<size_t>(line.elements));
  unpack_codes(weight.codes, weight.bits, codes);
  std::bitset<256> used;
  for (const uint8_t code : codes) used.set(code);
  line.used = static_cast<int64_t>(used.count());
  return line;
}

}  // namespace

void describe_lowered(const Graph& graph, std::vector<NodeInfo>& table) {
  const std::vector<std::optional<Coding>> codings = codings_of(graph);
  std::map<std::string, Shape> shapes{{"input", one_sample(graph.input_shape())}};
  for (size_t i = 0; i < table.size(); ++i) {
    NodeInfo& info = table[i];
    shapes[info.name] = info.output;
    LoweredLayer* const layer = lowered_layer(graph.nodes()[i]);
    if (layer == nullptr) continue;
    if (codings[i]) info.activation_bits = bits_for_levels(codings[i]->levels);
    if (const std::optional<CodedWeight> weight = layer->coded_weight())
      describe_weight(info, *layer, *weight, shapes.at(info.inputs[0]));
  }
}

std::vector<AuditLine> audit_lowered(const Graph& graph) {
  std::vector<AuditLine> lines;
  std::vector<std::optional<Coding>> codings(graph.nodes().size());
  Complaints mismatch;
  try {
    codings = codings_of(graph);
  } catch (const Error& error) {
    mismatch.emplace_back(error.what());
  }
  for (size_t i = 0; i < codings.size(); ++i) {
    const Node& node = graph.nodes()[i];
    LoweredLayer* const layer = lowered_layer(node);
    if (layer == nullptr) continue;
    if (const std::optional<CodedWeight> weight = layer->coded_weight())
      lines.push_back(audit_weight(node, *layer, *weight));
    if (!codings[i]) continue;
    AuditLine line = line_of(node, "activation");
    line.levels = codings[i]->levels;
    line.bits = bits_for_levels(line.levels);
    lines.push_back(line);
  }
  if (!lines.empty()) lines[0].complaints.insert(lines[0].complaints.end(), mismatch.begin(), mismatch.end());
  return lines;
}

}  // namespace nibble
