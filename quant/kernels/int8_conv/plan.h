#pragma once

#include <memory>
#include <vector>

#include "quant/kernels/int8_conv/int8_conv.h"
#include "quant/kernels/int8_gemm/int8_gemm.h"

namespace nibble::int8::detail {

struct alignas(64) Line {
  uint8_t bytes[64];
};

/// Output channels that one call of a kernel computes.
struct Panel {
  int64_t channel = 0, n = 0;           ///< of the whole output; n without padding
  int64_t weights = 0;                  ///< where they start, in bytes
  int64_t table = 0;                    ///< where the panel's entries of the outcome's arrays start
  int64_t step = 0, run = 0, runs = 0;  ///< if the plan has runs: the panel's first of each, and how many entries
};

/// What does not depend on the border; unchanged once a plan is built.
struct Tables {
  std::vector<Line> weights;
  std::vector<Step> run_steps;
  std::vector<Runs> runs;
  std::vector<int32_t> ints;
  std::vector<float> floats;
};

/// An Int8ConvSpec checked and packed for one variant of the kernels.
struct Int8ConvPlan {
  Int8ConvPlan(const Int8ConvSpec& spec, std::string_view isa);
  /// The same with another border, on the same tables.
  Int8ConvPlan(const Int8ConvPlan& other, const Padding& pad);

  const Kernels* kernels = nullptr;
  std::string variant;
  Operand operand = Operand::u8_s8;  ///< of the kernel that computes
  bool in_runs = false;              ///< which is correlate_runs,
  bool in_winograd = false;          ///< or winograd; else correlate or depthwise
  int64_t in = 0, out = 0;           ///< channels
  int kh = 1, kw = 1;
  ConvGeometry geometry;
  int32_t x_zero = 0;
  Epilogue::Output output = Epilogue::Output::codes;

  bool depthwise = false;
  bool copied = false;     ///< kernels read a copy of some rows: for the border, whole steps, or another operand
  bool pointwise = false;  ///< a matrix product straight on the input
  bool sums = false;       ///< the outcome needs the sum of each window,
  int32_t sum_factor = 1;  ///< times this
  int64_t groups = 1;      ///< 1 if depthwise
  int64_t group_in = 0;    ///< channels of one group
  int64_t value_bytes = 1;
  int64_t pixel_bytes = 0;  ///< of one pixel of one group in the copy

  std::vector<Panel> panels;  ///< group after group, the same number for each
  int64_t panels_per_group = 0;
  std::shared_ptr<Tables> tables = std::make_shared<Tables>();
  Outcome outcome;  ///< arrays lie in the tables and start at the first panel

  const uint8_t* weight_bytes() const { return reinterpret_cast<const uint8_t*>(tables->weights.data()); }
  Outcome outcome_of(const Panel& panel) const;

 private:
  void choose_path();
};

}  // namespace nibble::int8::detail
