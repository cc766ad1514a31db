#include "apps/float_peak.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "core/kernels/peak_f32/dispatch.h"
#include "core/parallel.h"

namespace nibble {

double measure_float_peak() {
  constexpr int kRuns = 12;
  constexpr int64_t kRounds = 200000;  // about 1 ms
  const auto run = peak_f32::variant().fn;
  const int64_t cores = threads();
  double best = 0;
  for (int i = 0; i < kRuns; ++i) {
    std::vector<int64_t> products(static_cast<size_t>(cores));
    const auto begin = std::chrono::steady_clock::now();
    parallel_for(0, cores, 1, [&](int64_t lo, int64_t hi) {
      for (int64_t core = lo; core < hi; ++core) {
        float io[3] = {0.999f, 0.001f, 0};  // stays near 1, away from denormals
        products[static_cast<size_t>(core)] = run(kRounds, io);
      }
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    double flop = 0;
    for (const int64_t p : products) flop += 2.0 * static_cast<double>(p);
    best = std::max(best, flop / seconds);
  }
  return best;
}

}  // namespace nibble
