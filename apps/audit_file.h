#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"
#include "layers/graph.h"

namespace nibble {

/// The size of a checkpoint against what it holds.
struct FileAudit {
  int64_t bytes = 0;           ///< of the file
  int64_t header_bytes = 0;    ///< length field and header
  int64_t tensor_bytes = 0;    ///< sum over tensors of elements times the size of their type
  int64_t code_bytes = 0;      ///< what the weights that are packed as codes should take: ceil(bits * count / 8) each
  int64_t packed_weights = 0;  ///< their number of elements
  int64_t quantized_weights = 0;  ///< elements of quantized weights that are stored in f32
  int64_t packed_size = 0;        ///< those weights' size as codes
  std::vector<std::string> complaints;

  Json json() const;
  /// One line: "ok   file: ..." or "FAIL file: ...".
  std::string text() const;
};

/// Compares the size of a checkpoint with its header and tensors, and the size of every packed weight of its graph with
/// bits times count. Throws Error if the file cannot be read.
FileAudit audit_file(const std::string& path, const Graph& graph);

}  // namespace nibble
