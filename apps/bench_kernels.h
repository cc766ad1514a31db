#pragma once

#include <cstdint>
#include <iosfwd>

#include "apps/progress.h"
#include "core/json.h"

namespace nibble {

/// Times the convolution kernels alone, layer by layer, on random codes: {"rows": [{"layer", "family" ("int8", "bits
/// 1x2", "bits 2x2 learned", ...: bits of weights x activations), "kernel", "macs", "seconds" (median of `steps`
/// samples), "gmacs_per_second", "macs_per_cycle"}], "clock_ghz" (median over the rows)}. Rows of int8 also have
/// "peak_macs_per_cycle" and "peak_share", those of bits "over_int8", how much faster they are than int8 on the same
/// layer, sampled in turns with it. Inputs, outputs and weights stay in the caches. Cycles are those of the clock
/// measured around each sample, the peak that of the instructions the kernel uses, on all threads().
Json bench_kernels(int64_t steps, Progress& progress);

/// As a table, for a human.
void print_kernels(const Json& json, std::ostream& out);

}  // namespace nibble
