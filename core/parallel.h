#pragma once

#include <cstdint>
#include <type_traits>

namespace nibble {

/// Number of threads parallel_for uses: at first OMP_NUM_THREADS or the number of cores.
int threads();
/// Throws unless n >= 1.
void set_threads(int n);

namespace detail {
using RangeFn = void (*)(void* body, int64_t begin, int64_t end);
void parallel_ranges(int64_t begin, int64_t end, int64_t grain, RangeFn fn, void* body);
}  // namespace detail

/// Calls body(lo, hi) on disjoint ranges that cover [begin, end), from several threads; ranges hold at least `grain`
/// indices (but for the last). How the range is cut depends on the number of threads, so a body must compute each
/// index independently: a reduction keeps one partial result per fixed block of indices and adds them in order
/// afterwards. Nested calls run on the calling thread. The first exception thrown by a body is rethrown.
template <class Body>
void parallel_for(int64_t begin, int64_t end, int64_t grain, Body&& body) {
  detail::parallel_ranges(
      begin, end, grain,
      [](void* b, int64_t lo, int64_t hi) { (*static_cast<std::remove_reference_t<Body>*>(b))(lo, hi); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace nibble
