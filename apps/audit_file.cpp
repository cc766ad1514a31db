#include "apps/audit_file.h"

#include <cstring>
#include <filesystem>

#include "core/file.h"
#include "core/safetensors.h"
#include "layers/packed.h"
#include "layers/weight_slot.h"
#include "quant/lowering/lowered_layer.h"

namespace nibble {
namespace {

constexpr int64_t kLengthField = 8;

/// The length that the file itself gives for its header.
int64_t header_length(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  uint64_t length = 0;
  NIBBLE_CHECK(bytes.size() >= sizeof length, "'", path, "' is no safetensors file: it has only ", bytes.size(),
               " bytes");
  std::memcpy(&length, bytes.data(), sizeof length);
  return static_cast<int64_t>(length);
}

/// Counts a weight that the file holds as codes.
void add_codes(FileAudit& audit, const std::string& node, int64_t count, int bits, int64_t found) {
  const int64_t expected = packed_bytes(count, bits);
  audit.packed_weights += count;
  audit.code_bytes += expected;
  if (found != expected)
    audit.complaints.push_back(concat_text("expected ", expected, " bytes for the ", count, " weights of '", node,
                                           "' at ", bits, " bits, found ", found));
}

/// Nothing for a layer without a quantized weight, and for one with a broken quantizer, of which audit() tells.
std::optional<GemmForm> quantized_gemm(const Node& node) {
  const WeightSlot* slot = node.layer->weight_slot();
  if (slot == nullptr || slot->empty()) return std::nullopt;
  try {
    std::optional<GemmForm> gemm = node.layer->facts().gemm;
    if (gemm && !std::holds_alternative<Real>(gemm->weight_grid)) return gemm;
  } catch (const Error&) {
  }
  return std::nullopt;
}

}  // namespace

FileAudit audit_file(const std::string& path, const Graph& graph) {
  FileAudit audit;
  const TensorFile file = read_safetensors(path);
  audit.bytes = static_cast<int64_t>(std::filesystem::file_size(path));
  audit.header_bytes = kLengthField + header_length(path);
  for (const auto& [name, tensor] : file.tensors) audit.tensor_bytes += static_cast<int64_t>(tensor.bytes());
  if (audit.bytes != audit.header_bytes + audit.tensor_bytes)
    audit.complaints.push_back(concat_text("expected ", audit.header_bytes, " + ", audit.tensor_bytes,
                                           " bytes for header and tensors, found ", audit.bytes));
  for (const Node& node : graph.nodes()) {
    if (const auto* lowered = dynamic_cast<const LoweredLayer*>(node.layer.get())) {
      const std::optional<CodedWeight> weight = lowered->coded_weight();
      const Tensor* codes = file.find(node.name + ".weight");
      if (weight)
        add_codes(audit, node.name, weight->window.weight_shape().numel(), weight->bits,
                  codes == nullptr ? 0 : static_cast<int64_t>(codes->bytes()));
      continue;
    }
    const std::optional<GemmForm> gemm = quantized_gemm(node);
    if (!gemm) continue;
    const int64_t count = gemm->weight.numel();
    const int bits = packed_bits(gemm->weight_grid);
    if (const Tensor* codes = file.find(node.name + ".weight.codes")) {
      add_codes(audit, node.name, count, bits, static_cast<int64_t>(codes->bytes()));
      continue;
    }
    audit.quantized_weights += count;
    audit.packed_size += packed_bytes(count, bits);
  }
  return audit;
}

Json FileAudit::json() const {
  return {{"ok", complaints.empty()},
          {"bytes", bytes},
          {"header_bytes", header_bytes},
          {"tensor_bytes", tensor_bytes},
          {"packed_weights", packed_weights},
          {"code_bytes", code_bytes},
          {"quantized_weights_in_f32", quantized_weights},
          {"their_packed_bytes", packed_size},
          {"complaints", complaints}};
}

std::string FileAudit::text() const {
  std::string text;
  for (const std::string& complaint : complaints) text += (text.empty() ? "" : "\n") + ("FAIL file: " + complaint);
  if (!text.empty()) return text;
  text = concat_text("ok   file: ", bytes, " bytes = header ", header_bytes, " + tensors ", tensor_bytes);
  if (packed_weights > 0) text += concat_text(", of which ", code_bytes, " for ", packed_weights, " weights as codes");
  if (quantized_weights > 0)
    text += concat_text("; it can be trained on and holds ", quantized_weights, " quantized weights in f32, ",
                        4 * quantized_weights, " bytes that nibble pack turns into ", packed_size);
  return text;
}

}  // namespace nibble
