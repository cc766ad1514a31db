#include "apps/trained_model.h"

#include "core/allocator.h"
#include "quant/lowering/lowered_model.h"

namespace nibble {
namespace {

constexpr std::string_view kAverage = "train/ema/";

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

TrainedModel load_trained(const std::string& path, bool live) {
  Checkpoint checkpoint = map_checkpoint(path);
  TrainedModel model{std::move(checkpoint.graph), std::move(checkpoint.config), path, false};
  try {
    check_lowered(model.graph);
  } catch (const Error& error) {
    throw Error(concat_text(path, ": ", error.what()));
  }
  // What loading needed is not what running needs.
  release_unused_memory();
  if (live) return model;
  for (const NamedTensor& named : state_of(model.graph)) {
    const Tensor* average = checkpoint.file.find(std::string(kAverage) + named.name);
    if (average == nullptr) continue;
    NIBBLE_CHECK(average->shape() == named.tensor.shape() && average->dtype() == named.tensor.dtype(), path,
                 ": tensor '", kAverage, named.name, "' expects ", name_of(named.tensor.dtype()), " ",
                 named.tensor.shape(), ", found ", name_of(average->dtype()), " ", average->shape());
    named.tensor.copy_from(*average);
    model.averaged = true;
  }
  return model;
}

Config choose_data(const Config& checkpoint, const std::string& override_text) {
  Config data{Json()};
  if (checkpoint.contains("data")) data = checkpoint.at("data");
  if (override_text.empty()) {
    if (data.json.is_null()) throw UsageError(checkpoint.file + ": names no data; say where it is with --data");
    return data;
  }
  Config changes;
  if (override_text[0] == '{') {
    changes = parse_config(override_text, "--data");
  } else if (ends_with(override_text, ".json")) {
    changes = load_config(override_text);
    if (changes.contains("data")) changes = changes.at("data");
  } else {
    changes = Config({{"root", override_text}}, "--data");
  }
  if (data.json.is_null()) return changes;
  if (changes.contains("type") && changes.type() != data.type()) return changes;
  data.json.update(changes.json);
  // Errors now most likely concern what was changed.
  return {data.json, changes.file, changes.pointer};
}

}  // namespace nibble
