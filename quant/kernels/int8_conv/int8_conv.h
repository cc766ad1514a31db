#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/ops.h"

/// Convolution and linear layers on codes of up to 8 bits. Nothing here knows layers or quantizers: a caller describes
/// the arithmetic (Int8ConvSpec), the plan packs the weights once (Int8Conv), and run() computes. Results are the same
/// bits on every processor, for every number of threads and every cutting of the work.
namespace nibble::int8 {

/// From an accumulator to an output code. Every list has one entry or one per output channel; lists of the other rule
/// are ignored.
///   fixed:  code = clamp(MultiplyByQuantizedMultiplier(acc, multiplier, shift) + zero, lo, hi)
///           (Jacob et al. 2018, sec. 2.2-2.4; the function is multiply_by_quantized_multiplier of fixed_point.h)
///   real:   code = clamp(round_half_even(r) + zero, lo, hi),  r = f32(acc) * scale + offset  [+ x_sum * x_sum_scale],
///           in f32, every operation rounded by itself (no fused multiply-add)
struct Epilogue {
  enum class Rule { fixed, real };
  /// codes: u8, as above. accumulators: i32, acc itself; no lists are needed. reals: f32, the r of rule real
  /// plus what run() is given to add, then least unless that is greater, then most unless that is less.
  enum class Output { codes, accumulators, reals };
  Rule rule = Rule::fixed;
  Output output = Output::codes;
  std::vector<int32_t> multiplier = {};  ///< 0, or 2^30 .. 2^31 - 1
  std::vector<int32_t> shift = {};       ///< -31 .. 31; positive is to the left, saturating
  std::vector<float> scale = {};
  std::vector<float> offset = {};  ///< empty: 0
  /// Rule real only, empty: none. Adds f32(x_sum) * x_sum_scale, where x_sum = sum over the window of (x - x_zero): the
  /// term of a weight grid whose offset is no multiple of half its step.
  std::vector<float> x_sum_scale = {};
  int32_t zero = 0;          ///< 0..255
  int32_t lo = 0, hi = 255;  ///< 0 <= lo <= hi <= 255; ReLU and ReLU6 are a choice of these
  float least = -std::numeric_limits<float>::infinity(), most = std::numeric_limits<float>::infinity();
};

/// acc[o] = bias[o] + sum over taps t and input channels i of (x[t][i] - x_zero) * (w_unit * w[o][i][t] - w_zero[o]);
/// a tap outside the image counts as x = x_zero (eq. 4, 5 with eq. 7's zero points). A linear layer is a 1x1
/// convolution of 1x1 images.
struct Int8ConvSpec {
  int64_t in_channels = 0, out_channels = 0;
  int kh = 1, kw = 1;
  ConvGeometry geometry = {};
  std::vector<uint8_t> weights = {};  ///< codes, (O, I/groups, KH, KW)
  std::vector<int32_t> w_zero = {};   ///< one or O entries, each 0 .. 255 * w_unit; the codes of a signed grid have -lo
  int32_t w_unit = 1;                 ///< 2 where zero points are halves (DoReFa): scales are then of half steps
  int32_t x_zero = 0;                 ///< 0..255
  std::vector<int32_t> bias = {};     ///< empty, one or O entries
  Epilogue epilogue = {};
};

namespace detail {
struct Int8ConvPlan;
}

/// A packed convolution. Immutable: several threads may run one plan at once, each with its own scratch.
class Int8Conv {
 public:
  /// Throws Error if the parts do not fit together, a number is out of its range, or some input codes could make
  /// |acc| exceed 2^31 - 1. `isa` names a row of gemm_variants() to use instead of this process's choice.
  explicit Int8Conv(const Int8ConvSpec& spec, std::string_view isa = {});
  /// The same convolution with another border, on the same packed weights. Throws Error if it is out of range.
  Int8Conv with_padding(const Padding& pad) const;

  struct Extent {
    int64_t h = 0, w = 0;
  };
  /// Height and width of the output for an input of h x w; throws Error if the window does not fit.
  Extent output(int64_t h, int64_t w) const;
  int64_t in_channels() const;
  int64_t out_channels() const;
  /// Bytes of one output element: 1 for codes, else 4.
  int64_t output_bytes() const;
  /// Bytes of packed weights and tables.
  int64_t packed_bytes() const;
  /// "depthwise", "pointwise" (straight on the input), "direct" or "direct padded" (on a copy of a few rows), and the
  /// kernel variant: "direct padded, avx512vnni".
  std::string describe() const;

  /// Bytes of scratch that one part of run() or run_part() needs for up to `batch` images; grows with all three, not
  /// beyond some rows.
  int64_t scratch_bytes(int64_t h, int64_t w, int64_t batch) const;
  /// x: (batch, h, w, in_channels) codes, y: (batch, oh, ow, out_channels) of the output's type; no overlap. Uses as
  /// many threads as the scratch has room for parts and the work is worth, at most threads(). Allocates nothing. `add`
  /// (null: none) is of y's size and added to reals. Throws Error if the scratch is too small for one part or not
  /// aligned to 8 bytes (64 are best), or if there is something to add to codes or accumulators.
  void run(const uint8_t* x, int64_t batch, int64_t h, int64_t w, void* y, std::span<std::byte> scratch,
           const float* add = nullptr) const;
  /// Share number `part` of `parts` of the same work, on this thread, with scratch_bytes(h, w, batch) of scratch; for
  /// callers that have their own threads. The parts together write all of y, each element once.
  void run_part(const uint8_t* x, int64_t batch, int64_t h, int64_t w, void* y, int part, int parts, std::byte* scratch,
                const float* add = nullptr) const;

 private:
  std::shared_ptr<const detail::Int8ConvPlan> plan_;
};

}  // namespace nibble::int8
