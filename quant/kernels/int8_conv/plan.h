#pragma once

#include <vector>

#include "quant/kernels/int8_conv/int8_conv.h"
#include "quant/kernels/int8_gemm/int8_gemm.h"

namespace nibble::int8::detail {

struct alignas(64) Line {
  uint8_t bytes[64];
};

/// Output channels that one call of a kernel computes.
struct Panel {
  int64_t channel = 0, n = 0;  ///< of the whole output; n without padding
  int64_t weights = 0;         ///< where they start, in bytes
  int64_t table = 0;           ///< where the panel's entries of the outcome's arrays start
};

/// An Int8ConvSpec checked and packed for one variant of the kernels.
struct Int8ConvPlan {
  Int8ConvPlan(const Int8ConvSpec& spec, std::string_view isa);
  Int8ConvPlan(const Int8ConvPlan&) = delete;
  Int8ConvPlan& operator=(const Int8ConvPlan&) = delete;

  const Kernels* kernels = nullptr;
  std::string variant;
  int64_t in = 0, out = 0;  ///< channels
  int kh = 1, kw = 1;
  ConvGeometry geometry;
  int32_t x_zero = 0;
  Epilogue::Output output = Epilogue::Output::codes;

  bool depthwise = false;
  bool copied = false;     ///< kernels read a copy of some rows: for the border, whole steps, or another operand
  bool pointwise = false;  ///< a matrix product straight on the input
  bool sums = false;       ///< the outcome needs the sum of each window
  int64_t groups = 1;      ///< 1 if depthwise
  int64_t group_in = 0;    ///< channels of one group
  int64_t value_bytes = 1;
  int64_t pixel_bytes = 0;  ///< of one pixel of one group in the copy

  std::vector<Panel> panels;  ///< group after group, the same number for each
  int64_t panels_per_group = 0;
  std::vector<Line> weights;
  Outcome outcome;  ///< arrays start at the first panel
  std::vector<int32_t> ints;
  std::vector<float> floats;

  const uint8_t* weight_bytes() const { return reinterpret_cast<const uint8_t*>(weights.data()); }
  Outcome outcome_of(const Panel& panel) const;
};

}  // namespace nibble::int8::detail
