#pragma once

#include <cstdint>
#include <string>

#include "core/json.h"
#include "layers/graph.h"

namespace nibble {

/// The memory that a network takes, from before it is loaded until it has run. One at a time in a process that does
/// nothing else: it is worked out of what the whole process has.
class MemoryUse {
 public:
  /// Notes what the process takes without the network.
  MemoryUse();
  /// Notes what the network takes by itself.
  void loaded(const Graph& graph, const std::string& path);
  /// Once it has run: {"model_bytes": the file; "network_bytes": tensors and packed weights; "run_bytes": what the
  /// allocator holds for images, activations and scratch; "two_largest_activations_bytes"; "share": network_bytes +
  /// run_bytes over 1.5 times model_bytes plus the two largest activations; "resident_bytes": growth of the process's
  /// resident set, code and all}.
  Json json(int64_t two_largest_activations) const;

 private:
  int64_t resident_before_, tensors_before_;
  int64_t model_ = 0, network_ = 0, held_ = 0;
};

/// One line of it, for a human.
std::string memory_line(const Json& memory);

}  // namespace nibble
