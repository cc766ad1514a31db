#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace nibble {

/// An element type of the safetensors format: `type` in memory, `size` bytes in the file.
struct SafetensorsType {
  std::string_view name;
  DType type;
  size_t size;
  bool converted;  ///< nibble does not hold it, and reads it as f32
};
/// How tensors of this type are written.
const SafetensorsType& safetensors_type(DType type);

/// What the header of a safetensors file says about one tensor.
struct SafetensorsEntry {
  std::string name;
  const SafetensorsType* type = nullptr;
  std::optional<std::vector<uint64_t>> shape;    ///< at most Shape::kMaxRank
  std::optional<std::vector<uint64_t>> offsets;  ///< two: begin and end in the data
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

inline constexpr const char* kSafetensorsMetadataKey = "__metadata__";

/// Parses the JSON text; `file` is for messages. Every entry is complete and names are unique, but whether sizes and
/// offsets make sense is not checked. Throws Error.
SafetensorsHeader parse_safetensors_header(std::string_view text, const std::string& file);

}  // namespace nibble
