#include "layers/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "core/mapped_file.h"
#include "core/version.h"
#include "layers/packed.h"
#include "layers/state_limit.h"
#include "layers/state_match.h"
#include "layers/weight_slot.h"

namespace nibble {
namespace {

constexpr std::string_view kReserved = "train/";
/// Behind the name of a weight that is stored as packed codes.
constexpr const char* kCodes = ".codes";

bool is_reserved(const std::string& name) { return name.compare(0, kReserved.size(), kReserved) == 0; }

/// A path from the command line need not be UTF-8, which JSON must be.
std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

const std::string& metadata(const TensorFile& file, const std::string& path, const char* key) {
  const auto found = file.metadata.find(key);
  NIBBLE_CHECK(found != file.metadata.end(), path, ": this is no nibble checkpoint: it has no metadata '", key,
               "' (weights saved by other programs: nibble import)");
  return found->second;
}

TensorFile file_of(const std::string& path, const Graph& graph, const Json& config) {
  TensorFile file;
  file.metadata["nibble.graph"] = text_of(graph.to_json());
  file.metadata["nibble.config"] = text_of(config);
  file.metadata["nibble.version"] = std::string(version()) + " " + commit();
  for (const NamedTensor& entry : state_of(graph)) {
    NIBBLE_CHECK(entry.tensor.defined(), "checkpoint ", path, ": '", entry.name, "' has no value yet");
    file.tensors.emplace_back(entry.name, entry.tensor.detach());
  }
  return file;
}

/// The grid of a layer's weight if it needs no weight to be known, else Real.
Grid fixed_grid_of(const Node& node) {
  const WeightSlot* slot = node.layer->weight_slot();
  return slot == nullptr || slot->empty() ? Grid{Real{}} : slot->grid({});
}

/// A weight that a file holds as codes.
struct PackedWeight {
  const Node* node = nullptr;
  std::string name;  ///< of the codes
  Tensor codes, weight;
};
using PackedWeights = std::vector<PackedWeight>;

/// Puts a weight, still to be filled in, in the place of each tensor of codes.
PackedWeights take_codes(const Graph& graph, TensorFile& file) {
  std::map<std::string, Tensor*> tensors;
  for (auto& [name, tensor] : file.tensors) tensors[name] = &tensor;
  std::map<std::string, Tensor> weights;
  for (const NamedTensor& entry : state_of(graph)) weights[entry.name] = entry.tensor;
  PackedWeights packed;
  for (const Node& node : graph.nodes()) {
    const std::string name = node.name + ".weight";
    const auto codes = tensors.find(name + kCodes);
    const auto weight = weights.find(name);
    if (codes == tensors.end() || weight == weights.end() || node.layer->weight_slot() == nullptr) continue;
    packed.push_back({&node, codes->first, *codes->second, weight->second});
  }
  for (auto& [name, tensor] : file.tensors) {
    const auto found = std::ranges::find(packed, name, &PackedWeight::name);
    if (found == packed.end()) continue;
    name.resize(name.size() - std::strlen(kCodes));
    tensor = Tensor::zeros_like(found->weight);
  }
  return packed;
}

/// Once the grids are loaded.
void decode_weights(const PackedWeights& packed, const std::string& path) {
  for (const PackedWeight& entry : packed) {
    try {
      const Grid grid = fixed_grid_of(*entry.node);
      NIBBLE_CHECK(!std::holds_alternative<Real>(grid), "the layer has no grid of its own to decode them with");
      entry.weight.copy_from(decode(unpack_codes(entry.codes, entry.weight.shape(), packed_bits(grid)), grid));
    } catch (const Error& error) {
      throw Error(concat_text(path, ": tensor '", entry.name, "': ", error.what()));
    }
  }
}

}  // namespace

Checkpoint load_checkpoint(const std::string& path) { return checkpoint_from(read_safetensors(path), path); }

Checkpoint map_checkpoint(const std::string& path) { return checkpoint_from(map_safetensors(path), path); }

Checkpoint checkpoint_from(TensorFile file, const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.file = std::move(file);
  int64_t bytes = 0;
  for (const auto& [name, tensor] : checkpoint.file.tensors) bytes += static_cast<int64_t>(tensor.bytes());
  const char* key = "nibble.config";
  try {
    checkpoint.config = parse_config(metadata(checkpoint.file, path, key), path);
    key = "nibble.graph";
    const StateLimit limit(bytes);
    checkpoint.graph = Graph::from_json(parse_config(metadata(checkpoint.file, path, key), path));
  } catch (const UsageError& error) {
    // Not the user's text: a damaged file is a failure at run time.
    throw Error(concat_text("metadata '", key, "' of checkpoint ", error.what()));
  }
  const PackedWeights packed = take_codes(checkpoint.graph, checkpoint.file);
  load_state(checkpoint.graph, checkpoint.file, path);
  decode_weights(packed, path);
  return checkpoint;
}

void save_checkpoint(const std::string& path, const Graph& graph, const Json& config,
                     const std::vector<std::pair<std::string, Tensor>>& extra) {
  TensorFile file = file_of(path, graph, config);
  std::set<std::string> names;
  for (const auto& [name, tensor] : extra) {
    NIBBLE_CHECK(is_reserved(name) && names.insert(name).second, "checkpoint ", path, ": expected distinct names that ",
                 "begin with '", kReserved, "', got '", name, "'");
    NIBBLE_CHECK(tensor.defined(), "checkpoint ", path, ": '", name, "' has no value");
    file.tensors.emplace_back(name, tensor.detach());
  }
  write_safetensors(path, file);
}

void save_packed_checkpoint(const std::string& path, const Graph& graph, const Json& config) {
  TensorFile file = file_of(path, graph, config);
  bool any = false;
  for (const Node& node : graph.nodes()) {
    const Grid grid = fixed_grid_of(node);
    if (std::holds_alternative<Real>(grid)) continue;
    const auto weight = std::ranges::find(file.tensors, node.name + ".weight", &std::pair<std::string, Tensor>::first);
    NIBBLE_CHECK(weight != file.tensors.end(), "checkpoint ", path, ": layer '", node.name, "' has no weight");
    try {
      weight->second = pack_codes(exact_codes(weight->second, grid), packed_bits(grid));
    } catch (const Error& error) {
      throw Error(concat_text("checkpoint ", path, ": layer '", node.name, "': ", error.what()));
    }
    weight->first += kCodes;
    any = true;
  }
  NIBBLE_CHECK(any, "checkpoint ", path, ": the network has no weight on a grid of its own, so nothing can be packed");
  write_safetensors(path, file);
}

void load_state(const Graph& graph, const TensorFile& file, const std::string& origin) {
  StateMatch match(graph, origin);
  for (const auto& [name, tensor] : file.tensors)
    if (!is_reserved(name)) match.offer(name, name, tensor);
  match.commit(file.mapping.get());
  for (const Node& node : graph.nodes()) {
    try {
      if (file.mapping != nullptr) file.mapping->file().check_length();
      node.layer->after_load();
    } catch (const Error& error) {
      throw Error(concat_text(origin, ": ", node.layer->type(), " '", node.name, "': ", error.what()));
    }
    // One layer's share of the file in memory at a time.
    if (file.mapping != nullptr) file.mapping->release();
  }
}

}  // namespace nibble
