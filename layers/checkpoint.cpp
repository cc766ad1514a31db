#include "layers/checkpoint.h"

#include <set>

#include "core/version.h"
#include "layers/state_match.h"

namespace nibble {
namespace {

constexpr std::string_view kReserved = "train/";

bool is_reserved(const std::string& name) { return name.compare(0, kReserved.size(), kReserved) == 0; }

/// A path from the command line need not be UTF-8, which JSON must be.
std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

const std::string& metadata(const TensorFile& file, const std::string& path, const char* key) {
  const auto found = file.metadata.find(key);
  NIBBLE_CHECK(found != file.metadata.end(), path, ": this is no nibble checkpoint: it has no metadata '", key,
               "' (weights saved by other programs: nibble import)");
  return found->second;
}

}  // namespace

Checkpoint load_checkpoint(const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.file = read_safetensors(path);
  const char* key = "nibble.config";
  try {
    checkpoint.config = parse_config(metadata(checkpoint.file, path, key), path);
    key = "nibble.graph";
    checkpoint.graph = Graph::from_json(parse_config(metadata(checkpoint.file, path, key), path));
  } catch (const UsageError& error) {
    // Not the user's text: a damaged file is a failure at run time.
    throw Error(concat_text("metadata '", key, "' of checkpoint ", error.what()));
  }
  load_state(checkpoint.graph, checkpoint.file, path);
  return checkpoint;
}

void save_checkpoint(const std::string& path, const Graph& graph, const Json& config,
                     const std::vector<std::pair<std::string, Tensor>>& extra) {
  TensorFile file;
  file.metadata["nibble.graph"] = text_of(graph.to_json());
  file.metadata["nibble.config"] = text_of(config);
  file.metadata["nibble.version"] = std::string(version()) + " " + commit();
  for (const NamedTensor& entry : state_of(graph)) {
    NIBBLE_CHECK(entry.tensor.defined(), "checkpoint ", path, ": '", entry.name, "' has no value yet");
    file.tensors.emplace_back(entry.name, entry.tensor.detach());
  }
  std::set<std::string> names;
  for (const auto& [name, tensor] : extra) {
    NIBBLE_CHECK(is_reserved(name) && names.insert(name).second, "checkpoint ", path, ": expected distinct names that ",
                 "begin with '", kReserved, "', got '", name, "'");
    NIBBLE_CHECK(tensor.defined(), "checkpoint ", path, ": '", name, "' has no value");
    file.tensors.emplace_back(name, tensor.detach());
  }
  write_safetensors(path, file);
}

void load_state(const Graph& graph, const TensorFile& file, const std::string& origin) {
  StateMatch match(graph, origin);
  for (const auto& [name, tensor] : file.tensors)
    if (!is_reserved(name)) match.offer(name, name, tensor);
  match.commit();
}

}  // namespace nibble
