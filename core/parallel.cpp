#include "core/parallel.h"

#include <omp.h>

#include <algorithm>
#include <exception>

#include "core/error.h"

namespace nibble {

int threads() { return omp_get_max_threads(); }

void set_threads(int n) {
  NIBBLE_CHECK(n >= 1 && n <= 4096, "threads: expected 1 to 4096, got ", n);
  omp_set_num_threads(n);
}

namespace detail {

void parallel_ranges(int64_t begin, int64_t end, int64_t grain, RangeFn fn, void* body) {
  const int64_t count = end - begin;
  if (count <= 0) return;
  const int64_t most = std::max<int64_t>(1, count / std::max<int64_t>(grain, 1));
  const int team = static_cast<int>(std::min<int64_t>(threads(), most));
  if (team == 1 || omp_in_parallel()) {
    fn(body, begin, end);
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel num_threads(team)
  {
    const int64_t parts = omp_get_num_threads(), part = omp_get_thread_num();
    const int64_t lo = begin + count * part / parts, hi = begin + count * (part + 1) / parts;
    try {
      if (lo < hi) fn(body, lo, hi);
    } catch (...) {
#pragma omp critical(nibble_parallel_failure)
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace detail

}  // namespace nibble
