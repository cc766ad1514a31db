#pragma once

#include <cstdint>

/// The most multiply-adds that a core does in f32, to hold the kernels against.
namespace nibble::peak_f32 {

/// Runs chains of multiply-adds that do not wait for each other or for memory, `rounds` links long, and returns how
/// many single multiply-adds that was. `io[0]` and `io[1]` are what the chains multiply by and add; a sum of all chains
/// is left in io[2], so that no compiler leaves them out.
using Peak = int64_t(int64_t rounds, float* io);

}  // namespace nibble::peak_f32
