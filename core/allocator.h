#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace nibble {

/// What the tensor allocator has done since the process started.
struct AllocatorStats {
  int64_t system_allocations = 0;  ///< blocks requested from the system
  int64_t reused = 0;              ///< requests served from blocks released earlier
  int64_t bytes_in_use = 0;
  int64_t bytes_held = 0;  ///< in use or kept for reuse
  int64_t peak_bytes_in_use = 0;
};

/// Storage of at least `bytes`, 64-byte aligned, contents undefined. Released blocks are kept and handed out again to
/// requests of the same size class, so a training step that repeats its shapes allocates nothing after the first.
/// Thread-safe. Throws Error if the system has no memory.
std::shared_ptr<std::byte> allocate(size_t bytes);

AllocatorStats allocator_stats();

/// Returns every unused block, and what the C library keeps, to the system.
void release_unused_memory();

}  // namespace nibble
