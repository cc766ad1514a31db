#pragma once

#include "apps/progress.h"
#include "core/json.h"
#include "layers/graph.h"

namespace nibble {

struct BenchModelOptions {
  int64_t batch = 1;
  int64_t steps = 50;  ///< measured, after warm-up
  bool per_layer = false;
  bool hash = false;
};

/// Times a network's forward pass in evaluation mode on normal noise: {"images_per_second", "seconds_per_batch":
/// {median, min, max}, "system_allocations": those during the measured passes, "two_largest_activations_bytes": of the
/// input and all nodes' outputs, "logits_hash" (BitHash) and "layers" if asked for: [{"name", "type",
/// "microseconds" (median)}]}. Throws Error if the graph does not know its input shape.
Json bench_model(const Graph& graph, const BenchModelOptions& options, Progress& progress);

}  // namespace nibble
