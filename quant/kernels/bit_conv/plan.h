#pragma once

#include <vector>

#include "quant/kernels/bit_conv/bit_conv.h"
#include "quant/kernels/bit_gemm/bit_gemm.h"

namespace nibble::bits::detail {

/// Throws Error if the parts of a spec do not fit together or a number is out of its range.
void check(const BitConvSpec& spec);
const char* path_name(Path path);
/// A bound of |acc|, of every term of it and of every sum of some of them.
double reach(const BitConvSpec& spec);

struct alignas(64) Line {
  uint8_t bytes[64];
};

/// Output channels that one call of a kernel computes.
struct Panel {
  int64_t channel = 0, n = 0;  ///< of the whole output; n without padding
  int64_t width = 0;           ///< n rounded up to lanes
  int64_t weights = 0;         ///< where they start, in bytes
  int64_t table = 0;           ///< where the panel's entries of the outcome's arrays start
};

/// How many taps of a window may lie outside the image on one axis: before it 0..before, behind it 0..behind.
struct Overhang {
  int64_t before = 0, behind = 0;
  int64_t classes() const { return (before + 1) * (behind + 1); }
};

/// A BitConvSpec checked and packed for one variant of the kernels.
struct BitConvPlan {
  BitConvPlan(const BitConvSpec& spec, std::string_view isa, Path asked);
  BitConvPlan(const BitConvPlan&) = delete;
  BitConvPlan& operator=(const BitConvPlan&) = delete;

  const Kernels* kernels = nullptr;
  std::string variant;
  Path path = Path::planes;  ///< never automatic
  int64_t in = 0, out = 0;   ///< channels
  int kh = 1, kw = 1, w_bits = 1, a_bits = 1;
  ConvGeometry geometry;
  Epilogue::Output output = Epilogue::Output::levels;
  int64_t output_bytes = 1;

  bool learned = false;
  bool pointwise = false;   ///< a matrix product: rows and columns mean nothing
  int64_t group_in = 0;     ///< channels of one group
  int planes = 1;           ///< of the copy of the input: a_bits, or 1 if codes stay whole
  int w_planes = 1;         ///< of the packed weights, in the same way
  int64_t pixel_bytes = 0;  ///< of one pixel of one group in one plane of the copy
  int64_t step_bytes = 4;   ///< of the copy that a step of the kernels reads
  bool runs = false;        ///< the taps of a kernel row are one segment
  int64_t segs = 0, steps = 0;

  std::vector<Panel> panels;  ///< group after group, the same number for each
  int64_t panels_per_group = 0;
  std::vector<Line> weights;
  std::vector<int32_t> factor;      ///< as in Correlate; of whole codes' bytes: what each code of weights stands for
  bool sums = false;                ///< the outcome needs sums over windows
  std::vector<int32_t> sum_factor;  ///< integer: of each plane's sums; learned: none, each plane has its own
  Overhang over_rows, over_cols;    ///< the classes of borders
  Outcome outcome;                  ///< arrays start at the first panel
  std::vector<int32_t> ints;
  std::vector<float> floats;

  const uint8_t* weight_bytes() const { return reinterpret_cast<const uint8_t*>(weights.data()); }
  bool borders() const { return outcome.border || outcome.real_border; }
  /// Planes of sums over windows.
  int64_t sum_planes() const { return !sums ? 0 : learned ? planes : 1; }
  Outcome outcome_of(const Panel& panel) const;
};

}  // namespace nibble::bits::detail
