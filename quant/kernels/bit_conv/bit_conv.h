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

/// Convolution and linear layers on codes of one to four bits, by bit planes or by table look-up. Nothing here knows
/// layers or quantizers: a caller describes the arithmetic (BitConvSpec), the plan packs the weights once (BitConv),
/// and run() computes. Codes go in and out as bytes, one per activation. Results are the same bits on every processor,
/// for either way of computing, every number of threads and every cutting of the work.
namespace nibble::bits {

/// From the sums of a window to an output; lists have one entry or one per output channel.
struct Epilogue {
  /// levels: u8, codes[number of thresholds that r exceeds].  uniform: u8, clamp(round_half_even(r) + zero, lo, hi).
  /// accumulators: i32, the acc of Rule::integer.
  /// reals: f32, r plus what run() is given to add, then least unless that is greater, then most unless that is less.
  enum class Output { levels, uniform, accumulators, reals };
  Output output = Output::levels;
  std::vector<float> scale = {};       ///< empty: 1
  std::vector<float> offset = {};      ///< empty: 0
  std::vector<float> thresholds = {};  ///< ascending, at most 15, the same for all channels
  bool strict = true;                  ///< t is exceeded if r > t; else if r >= t
  std::vector<uint8_t> codes = {};     ///< one more than thresholds
  int32_t zero = 0;                    ///< 0..255
  int32_t lo = 0, hi = 255;            ///< 0 <= lo <= hi <= 255
  float least = -std::numeric_limits<float>::infinity(), most = std::numeric_limits<float>::infinity();
};

/// y = sum over the taps t inside the image and input channels i of w[o][i][t] * x[t][i], where codes stand for
///   w = w_offset[o] + sum_k w_basis[k][o] * bit_k(code),    x = a_offset + sum_j a_basis[j] * bit_j(code)
/// (LQ-Nets, eq. 6, for any offsets). A tap outside the image is the real number 0, whatever the offsets are. With
/// P_kj = number of places where bit k of the weight and bit j of the activation are set, Q_j and R_k the number of set
/// bits of activations and of weights, T the number of places, all over the taps inside the image:
///
/// Rule::integer, where all values are small integers, the same for all channels:
///   acc = sum_kj w_basis[k] a_basis[j] P_kj + w_offset sum_j a_basis[j] Q_j + a_offset sum_k w_basis[k] R_k
///         + w_offset a_offset T                                                            exactly, in 32 bits
///   r = f32(acc) * scale[o] + offset[o]                                   in f32, each operation rounded by itself
/// Rule::learned, with f(v) = f32(v * scale[o]), v a product in double, all sums and products in f32, none fused:
///   r = offset[o], then for k, j (k outer):  r = r + f32(P_kj) * f(w_basis[k][o] * a_basis[j])
///   if any w_offset is not 0, for j:         r = r + f32(Q_j) * f(w_offset[o] * a_basis[j])
///   if a_offset is not 0:                    r = r + b,  b = f32(R_0) * f(a_offset * w_basis[0][o]), then for k >= 1
///       b = b + f32(R_k) * f(a_offset * w_basis[k][o]), then b = b + f32(T) * f(w_offset[o] * a_offset)
///
/// definition.h has both as code. A linear layer is a 1x1 convolution of 1x1 images. Ternary weights -1, 0, 1 have the
/// basis 1, -1: the code is 1 for +1 and 2 for -1.
struct BitConvSpec {
  enum class Rule { integer, learned };
  int64_t in_channels = 0, out_channels = 0;
  int kh = 1, kw = 1;
  ConvGeometry geometry = {};
  int w_bits = 1, a_bits = 1;         ///< 1..4, 1..8
  std::vector<uint8_t> weights = {};  ///< codes below 2^w_bits, (O, I/groups, KH, KW)
  Rule rule = Rule::integer;
  std::vector<double> w_offset = {0};             ///< one or O entries; one integer for Rule::integer
  std::vector<std::vector<double>> w_basis = {};  ///< w_bits lists of one or O entries; integers as above
  double a_offset = 0;
  std::vector<double> a_basis = {};  ///< a_bits entries
  Epilogue epilogue = {};
};

/// How sums are computed; the results are the same.
enum class Path {
  automatic,  ///< the one that should be faster on this processor
  planes,     ///< AND and popcount of bit planes
  tables,     ///< sums of the activations of 4 or 6 channels, looked up by the bits of the weights; Rule::integer only
  bytes       ///< products of bytes, whole codes (Rule::integer) or bits; by tile registers (AMX) only
};

namespace detail {
struct BitConvPlan;
}

/// A packed convolution. Immutable: several threads may run one plan at once, each with its own scratch.
class BitConv {
 public:
  /// Throws Error if the parts do not fit together, a number is out of its range or not finite, some input codes could
  /// make |acc| exceed 2^30, or a path is asked for that cannot compute it. `isa` names a row of gemm_variants() to use
  /// instead of this process's choice.
  explicit BitConv(const BitConvSpec& spec, std::string_view isa = {}, Path path = Path::automatic);

  /// Whether `path` can compute `spec` with the row `isa`.
  static bool computes(Path path, const BitConvSpec& spec, std::string_view isa = {});

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
  /// Path and kernel variant: "planes 1x2, avx512bits".
  std::string describe() const;

  /// Bytes of scratch that one part of run() or run_part() needs for up to `batch` images; grows with all three, not
  /// beyond some rows.
  int64_t scratch_bytes(int64_t h, int64_t w, int64_t batch) const;
  /// x: (batch, h, w, in_channels) codes, of which the lowest a_bits bits are read; y: (batch, oh, ow, out_channels) of
  /// the output's type; no overlap. Uses as many threads as the scratch has room for parts and the work is worth, at
  /// most threads(). Allocates nothing. `add` (null: none) is of y's size and added to reals. Throws Error if the
  /// scratch is too small for one part or not aligned to 8 bytes (64 are best), or if there is something to add to
  /// codes.
  void run(const uint8_t* x, int64_t batch, int64_t h, int64_t w, void* y, std::span<std::byte> scratch,
           const float* add = nullptr) const;
  /// Share number `part` of `parts` of the same work, on this thread, with scratch_bytes(h, w, batch) of scratch; for
  /// callers that have their own threads. The parts together write all of y, each element once.
  void run_part(const uint8_t* x, int64_t batch, int64_t h, int64_t w, void* y, int part, int parts, std::byte* scratch,
                const float* add = nullptr) const;

 private:
  std::shared_ptr<const detail::BitConvPlan> plan_;
};

}  // namespace nibble::bits
