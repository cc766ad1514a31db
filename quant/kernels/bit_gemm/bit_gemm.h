#pragma once

#include <cstdint>

/// The inner loops of convolutions on bit planes, and their way from sums to outputs. They are single-threaded,
/// allocate nothing and need no alignment; outputs must not alias inputs. Every variant gives the same bits as
/// `scalar`: counts are exact, and what follows them is defined operation by operation (Outcome).
namespace nibble::bits {

inline constexpr int64_t kMostCuts = 15;

/// From the counts P_kj of an output channel c (Correlate) to an output. Arrays of lists hold `stride` entries each, a
/// whole number of panels; `at` is the class of the pixel.
///   integer:  acc = (sum_kj factor[k, j] P_kj << shift) + sums[pixel] + border[at + c]
///             level = number of cuts l with (acc ^ flip[c]) >= cut[l * stride + c]
///             r = f32(acc) * scale[c] + offset[c]
///   learned:  r = offset[c], then r = r + f32(P_kj) * real_factor[(k a_bits + j) stride + c] for k, for j,
///             then r = r + f32(sums[j, pixel]) * sum_factor[j * stride + c] for j, then r = r + real_border[at + c]
///             level = number of thresholds l with r > threshold[l]
///   kLevels: codes[level];  kUniform: clamp(round_half_even(r) + zero, lo, hi);  kAccumulators: acc
///   kReals: r, plus the entry of Correlate::add if there is one; then least unless greater, then most unless less
/// All in f32, nothing fused. Terms whose pointer is null are left out.
struct Outcome {
  enum Kind { kLevels, kUniform, kAccumulators, kReals };
  Kind kind = kLevels;
  bool learned = false;
  int64_t stride = 0;
  int64_t cuts = 0;  ///< 0..kMostCuts
  int32_t shift = 0;
  bool narrow = false;  ///< no part of acc leaves 16 bits, cuts are compared there
  const int32_t *cut = nullptr, *flip = nullptr, *border = nullptr;
  const float *scale = nullptr, *offset = nullptr;
  const float *real_factor = nullptr, *sum_factor = nullptr, *real_border = nullptr;
  float threshold[kMostCuts] = {};
  uint8_t codes[kMostCuts + 1] = {};
  int32_t zero = 0, lo = 0, hi = 255;
  float least = -__builtin_inff(), most = __builtin_inff();
};

/// For every pixel (row, col), output channel c < n, bit k of the weights and bit j of the activations:
///   planes:  P_kj = sum over segments s and steps i of popcount(x_j & w_k), 32 bits each; x_j lies at x + pixel +
///            j * x_plane + seg[s] + 4 i, w_k at w[k][s * steps + i][c]
///   tables:  the a_bits planes are one: P_k = sum of table[w], where the table of 2^group bytes lies at x + pixel +
///            seg[s] + 2^group * i, and the index w at w[s * steps + i][k][place of c] (Kernels::place)
///   bytes:   P_kj = sum of the products of 4 bytes: u8 of plane j, where x_j lies for planes, and s8, where w_k does
/// x can be read 3 bytes beyond the last step. Sums of tables stay below 2^15.
struct Correlate {
  const uint8_t* x = nullptr;
  int64_t x_plane = 0, x_row = 0, x_col = 0;  ///< bytes
  const int64_t* seg = nullptr;               ///< bytes
  int64_t segs = 0, steps = 0;
  const uint8_t* w = nullptr;  ///< rows of n channels, rounded up to lanes (u32) or table_lanes (u8)
  int w_bits = 1, a_bits = 1;
  const int32_t* factor = nullptr;  ///< [k * a_bits + j], or [k] for tables; not for bytes
  const int32_t* sums = nullptr;    ///< pixel row * cols + col, plane j at j * sum_plane; null: none
  int64_t sum_plane = 0;
  const int32_t* at = nullptr;  ///< class of each pixel, for the borders
  void* y = nullptr;
  const float* add = nullptr;    ///< for kReals, at the places of y; null: none
  int64_t y_row = 0, y_col = 0;  ///< elements
  int64_t rows = 0, cols = 0;
  int64_t n = 0;         ///< output channels, 1..block or 1..table_block
  Outcome outcome = {};  ///< arrays start at the first of these channels
};

/// Pixels of codes, one after another: pixel i at x + i * x_pitch.
struct Pixels {
  const uint8_t* x = nullptr;
  int64_t x_pitch = 0, pixels = 0, channels = 0;
  int a_bits = 1, planes = 1;
  uint8_t* to = nullptr;
  int64_t to_pitch = 0, to_plane = 0;  ///< bytes
  int32_t* sums = nullptr;             ///< [pixel], null: none; plane j at j * sum_plane
  int64_t sum_plane = 0;
};

struct Kernels {
  /// Products of two bits, or of bytes, that take as long as starting a thread and waiting for it.
  int64_t thread_work = 1 << 17;
  int64_t lanes = 0;      ///< panels of packed planes are a multiple of this
  int64_t block = 0;      ///< and at most this wide
  bool popcount = false;  ///< by one instruction: planes are the faster ones for bits by bits
  void (*planes)(const Correlate&) = nullptr;
  /// Bit j of channel c is bit c % 8 of byte to + i * to_pitch + j * to_plane + c / 8; bits beyond the channels are 0.
  /// Writes up to 7 bytes more behind the last pixel. sums: number of set bits of plane j.
  void (*pack)(const Pixels&) = nullptr;

  int64_t group = 0;               ///< channels of a table; 0: no tables
  int64_t table_lanes = 0;         ///< as lanes, for indices
  int64_t table_block[5] = {};     ///< as block, by w_bits
  const uint8_t* place = nullptr;  ///< channel c of each table_lanes is index number place[c]
  void (*tables)(const Correlate&) = nullptr;
  /// Tables of groups of channels: entry s is the sum of the codes (lowest a_bits bits) of the channels in the set s.
  /// Whole groups; channels that are missing count 0. sums: sum of all codes (of plane 0).
  void (*tabulate)(const Pixels&) = nullptr;

  /// Products of bytes, faster by far than the rest; null: none.
  void (*bytes)(const Correlate&) = nullptr;
  /// Byte to + i * to_pitch + j * to_plane + c is bit j of a code, or with one plane all its lowest a_bits bits. sums:
  /// of the bits of plane j; whole codes have none.
  void (*spread)(const Pixels&) = nullptr;
};

/// Planes of counts that `bytes` takes, w_bits * a_bits.
inline constexpr int64_t kMostByteSums = 9;

}  // namespace nibble::bits
