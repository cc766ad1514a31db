#pragma once

#include <cstdint>

/// The inner loops of convolutions on codes, and of their sums. They are single-threaded, allocate nothing and need no
/// alignment; outputs must not alias inputs. Every variant gives the same bits as `scalar`: sums of products are exact
/// modulo 2^32, and the two ways to outputs are defined operation by operation (Outcome).
namespace nibble::int8 {

/// From the raw sum of products of a channel c to an output, in this order:
///   acc = (raw << unit_shift) + sum_weight[c] * x_sum + bias[c]       modulo 2^32; x_sum belongs to the pixel, or
///   acc = raw + x_sum + bias[c]                                       if adds_sum
///   fixed: v = rdbpot(srdhm(saturate(acc << left[c]), multiplier[c]), right[c])             (fixed_point.h)
///   real:  v = round_half_even(f32(acc) * scale[c] + offset[c] [+ f32(x_sum) * x_sum_scale[c]]), nothing fused
///   code = clamp(v + zero, lo, hi)
/// The arrays hold a whole number of panels.
struct Outcome {
  enum Kind { kFixed, kReal, kAccumulators, kReals };  ///< kReals stores what kReal rounds, plus `add`, bounded
  Kind kind = kFixed;
  const int32_t* bias = nullptr;
  const int32_t* sum_weight = nullptr;  ///< null: none
  int32_t unit_shift = 0;               ///< used with sum_weight only
  bool adds_sum = false;                ///< without sum_weight: x_sum already has its weight, one for all channels
  const int32_t *multiplier = nullptr, *left = nullptr, *right = nullptr;
  const int32_t* right_mask = nullptr;  ///< 2^right - 1
  bool shifts_left = false;             ///< some left[c] is not 0
  /// Of kFixed: every left[c] is 0, every right[c] at least 1, and neither acc nor acc - bias[c] leaves 32 bits. The
  /// bias and both roundings are then one addition to the product (tile.inc).
  bool folds = false;
  const float *scale = nullptr, *offset = nullptr;
  const float* x_sum_scale = nullptr;  ///< null: none
  int32_t zero = 0, lo = 0, hi = 255;
  const float* add = nullptr;  ///< of kReals, at the places of y: another term; null: none
  /// Of kReals: least unless the value is greater, then most unless that is less.
  float least = -__builtin_inff(), most = __builtin_inff();
};

/// Four codes of a pixel, at seg[seg] + at bytes.
struct Step {
  int32_t seg = 0, at = 0;
};

/// `count` runs of `length` steps each.
struct Runs {
  int32_t length = 0, count = 0;
};

/// raw[row, col, j] = sum over segments s and steps i of the products of `group` values of x, at pixel (row, col) +
/// seg[s] + 4 i bytes, with the values w[s * steps + i][j]. Values are 4 bytes per step: what they are, Kernels says.
struct Correlate {
  const uint8_t* x = nullptr;    ///< first pixel; pixel (row, col) starts at row * x_row + col * x_col
  int64_t x_row = 0, x_col = 0;  ///< bytes
  const int64_t* seg = nullptr;  ///< bytes
  int64_t segs = 0, steps = 0;   ///< 4 bytes per step
  const uint8_t* w = nullptr;    ///< [segs * steps][n rounded up to lanes][4 bytes]
  /// For correlate_runs only, instead of steps: which codes the packed weights belong to, step after step; the same
  /// codes come more than once where a weight is a sum of several. For each channel and each two neighbouring codes,
  /// the positive weights of a run of steps add up to at most kRunWeights, and so do the negative ones.
  const Step* step = nullptr;
  const Runs* run = nullptr;
  int64_t runs = 0;                ///< entries of `run`
  const int32_t* x_sum = nullptr;  ///< pixel (row, col) at row * cols + col; null unless the outcome needs it
  void* y = nullptr;
  int64_t y_row = 0, y_col = 0;  ///< elements
  int64_t rows = 0, cols = 0;
  int64_t n = 0;         ///< output channels, 1..block
  Outcome outcome = {};  ///< arrays start at the first of these channels
};

/// Winograd's F(2x2, 3x3) for kernels of 3x3 and stride 1: 16 products make a tile of 2x2 outputs, where 36 do
/// otherwise. With the weights' transform taken twice along both axes everything is an integer, so sums come out as
/// four times what Correlate defines: exactly, if that fits 32 bits, whatever wraps on the way. Inputs of all tiles
/// first:
///   v[4 i + j][tile][c] = (B^T d B)[i][j] of the 4x4 codes d at pixel (2 tile row, 2 tile column)
struct WinogradInput {
  const uint8_t* x = nullptr;  ///< 2 * tile_rows + 2 rows of 2 * tile_cols + 2 pixels of codes u8
  int64_t x_row = 0, x_col = 0;
  int64_t tile_rows = 0, tile_cols = 0;
  int64_t channels = 0;  ///< a multiple of 2 * lanes
  int16_t* v = nullptr;
  int64_t v_position = 0;  ///< values from one of the 16 positions to the next
};

/// The positions of weights and inputs are written and read together: a power of two between them would put all into a
/// few sets of the cache. So many channels are left free after each position of the weights.
inline constexpr int64_t kWinogradGap = 2;

/// Then, for every panel of 2 * lanes output channels, their weights:
///   u[4 i + j][c / 2][output][c % 2] = (2 G w (2 G)^T)[i][j] of w: s8 [channels / 2][2][3][3][lanes][channel of two]
/// and raw[row, col, j] = (A^T m A)[row % 2][col % 2] / 4, with m[position] = sum over c of v * u for the pixel's tile.
struct Winograd {
  const int16_t* v = nullptr;
  int64_t v_position = 0;
  const int16_t* u = nullptr;
  int64_t channels = 0;
  int32_t* m = nullptr;  ///< scratch: (16 * (m_tiles + 1) + 4 * tile columns) * 2 * lanes
  int64_t m_tiles = 0;   ///< tiles whose m is alive at once, at least a row of them
  const int32_t* x_sum = nullptr;
  void* y = nullptr;
  int64_t y_row = 0, y_col = 0;
  int64_t rows = 0, cols = 0;  ///< of outputs; a last odd one is a tile too
  int64_t n = 0;
  Outcome outcome = {};
};

/// One channel at a time: raw[row, col, c] = sum over taps t of x[row, col, seg[t] + c] * w[t][c], c < n. x holds u8
/// codes and can be read to the end of the last channel block (2 * lanes).
struct Depthwise {
  const uint8_t* x = nullptr;
  int64_t x_row = 0, x_col = 0;
  const int64_t* seg = nullptr;
  int64_t pairs = 0;           ///< taps come in pairs; an odd one is paired with weights of 0
  const int16_t* w = nullptr;  ///< [channel block][pair][2 * lanes, in depthwise_order][2]
  void* y = nullptr;
  int64_t y_row = 0, y_col = 0;
  int64_t rows = 0, cols = 0, n = 0;
  Outcome outcome = {};  ///< without x sums
};

/// y[i] = code of the sum of two codes. All arrays of the outcomes have 16 equal entries.
///   fixed: v = fixed(fixed((a - a_zero) << 20, a_scaling) + fixed((b - b_zero) << 20, b_scaling), outcome)
///   real:  v = round_half_even((f32(a - a_zero) * a_scale + f32(b - b_zero) * b_scale) / y_scale), nothing fused
///   code = clamp(v + zero, lo, hi)
struct Add {
  const uint8_t *a = nullptr, *b = nullptr;
  uint8_t* y = nullptr;  ///< may be a or b
  int64_t n = 0;
  int32_t a_zero = 0, b_zero = 0;
  Outcome a_scaling = {}, b_scaling = {}, outcome = {};  ///< the first two without shifts to the left
  float a_scale = 1, b_scale = 1, y_scale = 1;
};

/// y[i] = clamp(round_half_even(fma(a[i], a_step, fma(b[i], b_step, offset))) + zero, lo, hi) in f32; values must stay
/// below 2^31. Int8Add takes this way where it has found it to give the codes of Add for all pairs of codes.
struct AddLine {
  const uint8_t *a = nullptr, *b = nullptr;
  uint8_t* y = nullptr;  ///< may be a or b
  int64_t n = 0;
  float a_step = 1, b_step = 1, offset = 0;
  int32_t zero = 0, lo = 0, hi = 255;
};

/// 255 * 128 fits 16 bits with a sign, so sums of a run can neither saturate nor wrap, whatever the codes are.
inline constexpr int32_t kRunWeights = 128;

/// What the bytes of x and w are in correlate.
enum class Operand {
  u8_s8,   ///< 4 codes u8, 4 weights s8
  s8_s8,   ///< 4 codes minus 128, 4 weights s8
  s16_s16  ///< 2 codes s16, 2 weights s16
};

struct Kernels {
  Operand operand = Operand::u8_s8;
  int64_t lanes = 0;  ///< panels of packed weights are this or
  int64_t block = 0;  ///< this wide
  /// Multiply-adds of correlate that take as long as starting a thread and waiting for it.
  int64_t thread_work = 1 << 17;
  int64_t pixels = 0;                        ///< columns that fill a tile of the widest panel; a tile has two such rows
  const uint8_t* depthwise_order = nullptr;  ///< channel of each of the 2 * lanes weights
  void (*correlate)(const Correlate&) = nullptr;
  void (*correlate_runs)(const Correlate&) = nullptr;      ///< u8_s8, y_row = cols * y_col; may be null
  void (*winograd_input)(const WinogradInput&) = nullptr;  ///< all three may be null
  void (*winograd_weights)(const int8_t* w, int64_t channels, int16_t* u) = nullptr;
  void (*winograd)(const Winograd&) = nullptr;
  void (*depthwise)(const Depthwise&) = nullptr;
  void (*add)(const Add&) = nullptr;
  void (*add_line)(const AddLine&) = nullptr;  ///< may be null
};

}  // namespace nibble::int8
