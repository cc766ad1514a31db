#include "quant/audit.h"

#include <algorithm>

#include "layers/packed.h"
#include "layers/weight_slot.h"
#include "quant/finite_state.h"
#include "quant/promises.h"

namespace nibble {

namespace {

/// Adds what `check` returns, or the message of the Error that it throws.
template <class Check>
void collect(AuditLine& line, const Check& check) {
  try {
    const Complaints found = check();
    line.complaints.insert(line.complaints.end(), found.begin(), found.end());
  } catch (const Error& error) {
    line.complaints.emplace_back(error.what());
  }
}

std::string method_of(const Quantizer& quantizer) {
  const Json config = quantizer.config();
  const bool packed = config.contains("source") && config["source"].is_object() && config["source"].contains("type");
  return packed ? config["source"]["type"].get<std::string>() : std::string(quantizer.type());
}

/// The bits that the options of a quantizer state, or 0.
int stated_bits(const Quantizer& quantizer) {
  Json config = quantizer.config();
  if (config.contains("source") && config["source"].is_object()) config = config["source"];
  return config.contains("bits") && config["bits"].is_number_integer() ? config["bits"].get<int>() : 0;
}

Complaints check_codes(AuditLine& line, const Quantizer& quantizer, const Grid& grid) {
  line.bits = packed_bits(grid);
  line.levels = level_count(grid);
  check_grid(grid, channel_count(grid));
  const int stated = stated_bits(quantizer);
  if (std::holds_alternative<Real>(grid) || stated == 0 || line.bits <= stated) return {};
  return {concat_text("expected codes of ", stated, " bits, found ", line.levels, " levels, which take ", line.bits)};
}

int64_t most_values(const Tensor& weight, const Grid& grid) {
  const auto channels = static_cast<size_t>(channel_count(grid));
  const auto all = weight.data<float>();
  const size_t width = all.size() / channels;
  size_t most = 0;
  for (size_t c = 0; c < channels; ++c)
    most = std::max(most, distinct_values(all.subspan(c * width, width), 256).size());
  return static_cast<int64_t>(most);
}

AuditLine audit_weight(const Node& node, Quantizer& quantizer) {
  AuditLine line{node.name, "weight", method_of(quantizer), 0, 0, 0, 0, {}};
  FiniteState state;
  quantizer.visit(state);
  line.complaints = state.complaints;
  // With numbers that are not finite all that follows fails, too.
  if (!line.complaints.empty()) return line;
  std::optional<GemmForm> gemm;
  collect(line, [&]() -> Complaints {
    gemm = node.layer->facts().gemm;
    if (!gemm) return {"expected a layer that shows its weight"};
    line.elements = gemm->weight.numel();
    return {};
  });
  collect(line, [&] { return quantizer.audit_state(gemm ? gemm->latent : Tensor{}); });
  if (!gemm) return line;
  collect(line, [&] { return check_codes(line, quantizer, gemm->weight_grid); });
  if (std::holds_alternative<Real>(gemm->weight_grid) || !line.complaints.empty()) return line;
  line.used = most_values(gemm->weight, gemm->weight_grid);
  collect(line, [&]() -> Complaints {
    exact_codes(gemm->weight, gemm->weight_grid);
    return quantizer.audit_values(gemm->weight);
  });
  return line;
}

AuditLine audit_activation(const Node& node, Quantizer& quantizer) {
  AuditLine line{node.name, "activation", method_of(quantizer), 0, 0, 0, 0, {}};
  FiniteState state;
  quantizer.visit(state);
  line.complaints = state.complaints;
  if (!line.complaints.empty()) return line;
  collect(line, [&] { return quantizer.audit_state({}); });
  collect(line, [&] { return check_codes(line, quantizer, quantizer.grid()); });
  return line;
}

}  // namespace

std::vector<AuditLine> audit(const Graph& graph) {
  std::vector<AuditLine> lines;
  for (const Node& node : graph.nodes()) {
    if (auto* quantizer = dynamic_cast<Quantizer*>(node.layer.get()))
      lines.push_back(audit_activation(node, *quantizer));
    const WeightSlot* slot = node.layer->weight_slot();
    if (slot != nullptr && !slot->empty()) lines.push_back(audit_weight(node, *slot->get()));
  }
  return lines;
}

}  // namespace nibble
