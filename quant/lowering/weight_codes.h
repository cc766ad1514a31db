#pragma once

#include <optional>
#include <string>
#include <vector>

#include "layers/layer.h"

namespace nibble {

/// A weight as u8 codes q: value = scale[c] * (unit * q - zero[c]) + offset[c]. Lists have one entry or one per output
/// channel.
struct WeightCodes {
  Tensor codes;    ///< u8, the weight's shape
  int levels = 1;  ///< codes are 0 .. levels - 1
  int unit = 1;    ///< 2 where 0 lies half way between two levels: scales are then of half steps
  std::vector<double> scale;
  std::vector<int32_t> zero;  ///< 0 .. unit * (levels - 1)
  std::vector<float> offset;  ///< empty if 0: only for grids that do not hold 0 on a (half) level

  size_t channels() const { return static_cast<size_t>(codes.dim(0)); }
  double scale_of(size_t c) const { return scale[scale.size() == 1 ? 0 : c]; }
  int32_t zero_of(size_t c) const { return zero[zero.size() == 1 ? 0 : c]; }
};

/// The codes of a weight that lies on a uniform grid, or nothing with the reason in `why`. Exact: no weight moves.
std::optional<WeightCodes> weight_codes(const GemmForm& gemm, std::string& why);

/// The weight 1 for each of C channels as a depthwise 1x1 convolution, in codes that leave a bias enough resolution:
/// what carries a batch norm that no convolution precedes.
WeightCodes unit_weight(int64_t channels);

}  // namespace nibble
