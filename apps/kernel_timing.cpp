#include "apps/kernel_timing.h"

#include <algorithm>
#include <chrono>

#include "apps/median.h"
#include "core/cpu.h"

namespace nibble {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// Cycles per second, from a chain of links of 3 cycles that wait for each other.
double measure_clock() {
  constexpr int kLinks = 16, kRounds = 1500;
  const auto begin = Clock::now();
  uint64_t v = 3;
  for (int i = 0; i < kRounds; ++i) {
#if NIBBLE_X86
#define NIBBLE_LINK "imul %0, %0\n\t"
#elif NIBBLE_ARM
#define NIBBLE_LINK "add %0, %0, %0\n\tadd %0, %0, %0\n\tadd %0, %0, %0\n\t"
#endif
#ifdef NIBBLE_LINK
    __asm__ volatile(NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK
                         NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK
                     : "+r"(v));
#endif
  }
  return 3.0 * kLinks * kRounds / seconds_since(begin);
}

/// A run and its samples.
struct Sampled {
  const std::function<void()>& run;
  int64_t repeats = 1;
  std::vector<double> seconds, cycles, clocks;

  explicit Sampled(const std::function<void()>& r) : run(r) {
    constexpr double kSample = 300e-6;  // long against the clock's own overhead
    run();
    const auto begin = Clock::now();
    run();
    repeats = std::clamp<int64_t>(static_cast<int64_t>(kSample / std::max(seconds_since(begin), 1e-7)), 1, 1 << 16);
  }
  void sample() {
    run();  // what ran before it has filled the caches
    const double before = measure_clock();
    const auto start = Clock::now();
    for (int64_t i = 0; i < repeats; ++i) run();
    seconds.push_back(seconds_since(start) / static_cast<double>(repeats));
    // What else runs on the machine makes a chain look slower, never faster.
    clocks.push_back(std::max(before, measure_clock()));
    cycles.push_back(seconds.back() * clocks.back());
  }
};

}  // namespace

std::vector<KernelTime> time_in_turns(const std::vector<std::function<void()>>& runs, int64_t steps) {
  std::vector<Sampled> sampled;
  for (const auto& run : runs) sampled.emplace_back(run);
  for (int64_t step = 0; step < steps; ++step)
    for (Sampled& s : sampled) s.sample();
  std::vector<KernelTime> times;
  for (const Sampled& s : sampled)
    times.push_back(
        {median(s.seconds), median(s.cycles), median(s.clocks), *std::min_element(s.seconds.begin(), s.seconds.end())});
  return times;
}

}  // namespace nibble
