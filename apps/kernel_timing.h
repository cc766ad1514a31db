#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace nibble {

/// What one run of a kernel takes: medians over samples. Cycles are those of the clock measured around each sample.
struct KernelTime {
  double seconds = 0, cycles = 0;
  double clock = 0;    ///< cycles per second
  double fastest = 0;  ///< seconds of the fastest sample, which what else the machine does disturbs least
};

/// Takes `steps` samples of about 0.3 ms of every run, one run after the other, so that what else the machine does
/// disturbs all alike.
std::vector<KernelTime> time_in_turns(const std::vector<std::function<void()>>& runs, int64_t steps);

}  // namespace nibble
