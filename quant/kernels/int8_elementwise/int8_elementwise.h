#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

/// Modules without weights, on codes in NHWC. All run on parallel_for, allocate nothing and give the same bits on every
/// processor.
namespace nibble::int8 {

struct Add;
struct Kernels;

/// Sum of two tensors of codes (Jacob et al. 2018, App. A.2, in the form of spec sec. 4.2).
///   fixed:  with twice_max = 2 max(a.scale, b.scale):
///           v_a = MBQM((a - a_zero) 2^20, a_scale / twice_max), v_b alike,
///           code = clamp(MBQM(v_a + v_b, twice_max / (2^20 out_scale)) + out_zero, lo, hi)
///   real:   code = clamp(round_half_even((f32(a - a_zero) * a_scale + f32(b - b_zero) * b_scale) / out_scale)
///           + out_zero, lo, hi), in f32, every operation rounded by itself: decode, add and encode of core/grid.h
struct Int8AddSpec {
  bool real = false;
  double a_scale = 1, b_scale = 1, out_scale = 1;
  int32_t a_zero = 0, b_zero = 0, out_zero = 0;
  int32_t lo = 0, hi = 255;
};

namespace detail {
/// A multiplier and its shift for every lane of a vector.
struct Scaling {
  std::array<int32_t, 16> multiplier, left, right, right_mask;
};
/// A sum of codes as AddLine computes it.
struct Line {
  float a_step = 0, b_step = 0, offset = 0;
};
}  // namespace detail

class Int8Add {
 public:
  /// Throws Error unless scales are positive and finite as f32 with ratios within 2^30, and zero points and bounds lie
  /// in 0..255 with lo <= hi. `isa` names a row of gemm_variants() to use instead of this process's choice.
  explicit Int8Add(const Int8AddSpec& spec, std::string_view isa = {});
  /// y may be a or b.
  void run(const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n) const;

  /// Whether the sum is a fused multiply-add of the codes, which takes a third of the time or less: the constructor
  /// tries some that are near to the spec's scales, and uses one if it gives the right code for all 65,536 pairs.
  bool is_line() const { return line_.has_value(); }

 private:
  Add add_of(const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n) const;
  void find_line();
  bool fits(const detail::Line& line, std::span<const uint8_t> want) const;
  void run_line(const detail::Line& line, const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n) const;

  Int8AddSpec spec_;
  detail::Scaling a_, b_, out_;
  std::optional<detail::Line> line_;
  const Kernels* kernels_;
};

/// A window over height and width. Taps outside the image do not count.
struct Int8PoolSpec {
  bool average = false;  ///< (sum + n/2) / n over the n taps inside (spec sec. 4.4); else the maximum
  int kh = 1, kw = 1;
  int stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  bool global = false;  ///< the window is the whole image; the other numbers are ignored
};

class Int8Pool {
 public:
  /// Throws Error unless extents and strides are positive, paddings are 0 .. extent - 1, and an average has at most
  /// 2^23 taps.
  explicit Int8Pool(const Int8PoolSpec& spec);
  int64_t output_h(int64_t h) const;
  int64_t output_w(int64_t w) const;
  /// x: (batch, h, w, c), y: (batch, output_h, output_w, c).
  void run(const uint8_t* x, int64_t batch, int64_t h, int64_t w, int64_t c, uint8_t* y) const;
  /// The sums of an average before division, i32, where a caller rescales them by itself.
  void run_sums(const uint8_t* x, int64_t batch, int64_t h, int64_t w, int64_t c, int32_t* y) const;

 private:
  Int8PoolSpec spec_;
};

/// A function of one code, as its 256 values: y[i] = table[x[i]]. Requantization, logistic, tanh and any activation
/// between two grids are exact this way, whatever their definition.
using CodeTable = std::array<uint8_t, 256>;
/// clamp(MBQM(q - in_zero, in_scale / out_scale) + out_zero, lo, hi) for every code q.
CodeTable requantize_table(double in_scale, int32_t in_zero, double out_scale, int32_t out_zero, int32_t lo = 0,
                           int32_t hi = 255);
void apply_table(const CodeTable& table, const uint8_t* x, uint8_t* y, int64_t n);

/// One input of a concatenation along channels: (pixels, channels), through `table` unless that is null (a plain copy).
struct ConcatInput {
  const uint8_t* x = nullptr;
  int64_t channels = 0;
  const CodeTable* table = nullptr;
};
/// y: (pixels, sum of channels).
void concat_channels(std::span<const ConcatInput> inputs, int64_t pixels, uint8_t* y);

}  // namespace nibble::int8
