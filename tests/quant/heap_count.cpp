#include "tests/quant/heap_count.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<int64_t> large_requests{0};

void* counted(size_t bytes) noexcept {
  if (bytes >= nibble::test::kLargeRequest) large_requests.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(bytes == 0 ? 1 : bytes);
}

void* counted_or_throw(size_t bytes) {
  void* const block = counted(bytes);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

}  // namespace

// All forms without an alignment, so that no sanitizer's own form meets one of these. The thread sanitizer accepts no
// replacement at all: its build leaves this folder out.
void* operator new(size_t bytes) { return counted_or_throw(bytes); }
void* operator new[](size_t bytes) { return counted_or_throw(bytes); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return counted(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return counted(bytes); }
void operator delete(void* block) noexcept { std::free(block); }
void operator delete[](void* block) noexcept { std::free(block); }
void operator delete(void* block, size_t) noexcept { std::free(block); }
void operator delete[](void* block, size_t) noexcept { std::free(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { std::free(block); }
void operator delete[](void* block, const std::nothrow_t&) noexcept { std::free(block); }

namespace nibble::test {

int64_t large_heap_requests() { return large_requests.load(std::memory_order_relaxed); }

}  // namespace nibble::test
