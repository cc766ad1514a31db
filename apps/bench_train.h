#pragma once

#include <cstdint>
#include <iosfwd>

#include "apps/progress.h"
#include "apps/run_config.h"
#include "core/json.h"

namespace nibble {

struct BenchTrainOptions {
  int64_t batch = 0;  ///< images per step; 0: as the config says
  int64_t steps = 30;
  bool keep_threads = false;  ///< whatever the config says
  bool explain = false;
};

/// Times a config's training step on noise: {"model", "batch", "threads", "steps", "images_per_second",
/// "seconds_per_step": {median, min, max}, "system_allocations": blocks that tensors took from the system in the
/// measured steps, "peak_rss_bytes", "data_bytes", "allocator", "machine"}. With `explain` also "explain": what
/// StepProfile::json() says of as many further steps, and "peak_flops", what all threads do at most per second,
/// measured before and after them.
Json bench_train(const RunConfig& config, const BenchTrainOptions& options, Progress& progress);

void print_bench_train(const Json& json, std::ostream& out);

}  // namespace nibble
