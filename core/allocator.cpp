#include "core/allocator.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <vector>

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "core/error.h"

namespace nibble {

namespace {

constexpr size_t kAlignment = 64, kHugePage = size_t{2} << 20;

/// Eight size classes per power of two: at most an eighth is wasted, and shapes that differ little share blocks.
size_t size_class(size_t bytes) {
  bytes = std::max(bytes, kAlignment);
  const size_t step = std::max(std::bit_floor(bytes) / 8, kAlignment);
  return (bytes + step - 1) / step * step;
}

/// Large blocks ask for huge pages, as far as they fill them: passes over a tensor are faster by what looking up a page
/// for every 4 KiB costs.
std::byte* system_block(size_t bytes) {
#if defined(__linux__)
  if (const size_t whole = bytes / kHugePage * kHugePage; whole > 0) {
    void* block = nullptr;
    if (::posix_memalign(&block, kHugePage, bytes) != 0) return nullptr;
    ::madvise(block, whole, MADV_HUGEPAGE);  // may be refused: nothing is lost
    return static_cast<std::byte*>(block);
  }
#endif
  return static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes));
}

class Pool {
 public:
  std::byte* take(size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      stats_.bytes_in_use += static_cast<int64_t>(bytes);
      stats_.peak_bytes_in_use = std::max(stats_.peak_bytes_in_use, stats_.bytes_in_use);
      auto& blocks = free_[bytes];
      if (!blocks.empty()) {
        std::byte* block = blocks.back();
        blocks.pop_back();
        ++stats_.reused;
        return block;
      }
      ++stats_.system_allocations;
      stats_.bytes_held += static_cast<int64_t>(bytes);
    }
    std::byte* const block = system_block(bytes);
    if (block == nullptr) {
      const std::lock_guard lock(mutex_);
      stats_.bytes_in_use -= static_cast<int64_t>(bytes);
      stats_.bytes_held -= static_cast<int64_t>(bytes);
      throw Error(
          concat_text("out of memory: the system refused ", bytes, " bytes (", stats_.bytes_in_use, " in use)"));
    }
    return block;
  }

  void give(std::byte* block, size_t bytes) {
    const std::lock_guard lock(mutex_);
    stats_.bytes_in_use -= static_cast<int64_t>(bytes);
    free_[bytes].push_back(block);
  }

  AllocatorStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void trim() {
    const std::lock_guard lock(mutex_);
    for (auto& [bytes, blocks] : free_) {
      for (std::byte* block : blocks) std::free(block);
      stats_.bytes_held -= static_cast<int64_t>(bytes * blocks.size());
      blocks.clear();
    }
  }

 private:
  std::mutex mutex_;
  std::unordered_map<size_t, std::vector<std::byte*>> free_;
  AllocatorStats stats_;
};

/// Never destroyed: tensors in static objects may outlive any destructor order.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

}  // namespace

std::shared_ptr<std::byte> allocate(size_t bytes) {
  const size_t rounded = size_class(bytes);
  return {pool().take(rounded), [rounded](std::byte* block) { pool().give(block, rounded); }};
}

AllocatorStats allocator_stats() { return pool().stats(); }

void release_unused_memory() {
  pool().trim();
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

}  // namespace nibble
