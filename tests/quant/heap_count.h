#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble::test {

/// How often operator new has been asked for at least `kLargeRequest` bytes since the program started: storage in
/// proportion to a tensor that does not come from the tensor allocator's pool.
inline constexpr size_t kLargeRequest = 16384;
int64_t large_heap_requests();

}  // namespace nibble::test
