#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/kernels/int8_gemm/int8_gemm.h"

namespace nibble::int8::detail {

/// A panel's weights as steps in an order, and cut into parts, such that runs of them keep the bound of kRunWeights.
struct PackedRuns {
  std::vector<int32_t> quads;   ///< of each step: which four codes it multiplies, 0 .. number of quads - 1
  std::vector<int8_t> weights;  ///< [step][width][4]
  std::vector<Runs> runs;       ///< longest first
};

/// weights: [quad][width][4], width at most 16. The weights of the steps of a quad add up to the quad's weights.
PackedRuns pack_runs(std::span<const int32_t> weights, int64_t width);

}  // namespace nibble::int8::detail
