#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/bit_gemm/bit_gemm.h"
#include "quant/kernels/quads.h"

namespace nibble::bits {
namespace {

using TileSum = int32_t;
#define NIBBLE_TILE_PRODUCT(sums, x, w) _tile_dpbusd(sums, x, w)
#include "quant/kernels/amx.inc"
#include "quant/kernels/bit_gemm/zmm_bits.inc"

/// The sums of some places on their way to outputs.
template <int NV>
class Pending {
 public:
  Pending(const Correlate& k, const amx::Places& places)
      : k_(k), walk_(places), cuts_(k.outcome, 0), count_(k.w_bits * k.a_bits) {
    for (int64_t l = 0; l <= k.outcome.cuts; ++l) codes_[l] = _mm256_set1_epi8(static_cast<char>(k.outcome.codes[l]));
  }
  /// Of plane `plane` of the places that are summed up now.
  int32_t* sums(int64_t plane) { return sums_[turn_ ^ 1] + plane * kPlane; }
  /// What was summed up goes out, and other sums begin.
  void start(int64_t first, int64_t count) {
    turn_ ^= 1;
    walk_.start(first, count);
  }
  /// A few pixels: what vectors do while tiles multiply.
  [[gnu::noinline]] void some() {
    const int64_t left = walk_.left();
    if (left == 0) return;
    const int32_t* const sums = sums_[turn_] + walk_.number() * kRow;
    const Pixel pixel{walk_.row() * k_.cols + walk_.col(), walk_.row(), walk_.col()};
    if (left >= kMost) {
      put<kMost>(sums, pixel);
      return walk_.go_on(kMost);
    }
    put<1>(sums, pixel);
    walk_.go_on(1);
  }
  void all() {
    while (walk_.left() != 0) some();
  }

 private:
  static constexpr int kMost = 4;
  static constexpr int64_t kRow = NV * kLanes, kPlane = 4 / NV * amx::kPixels * kRow;

  /// The next H pixels of a row.
  template <int H>
  [[gnu::always_inline]] void put(const int32_t* sums, const Pixel& pixel) const {
    const Outcome& o = k_.outcome;
    if (o.learned) return put_learned<H>(sums, pixel);
    V acc[H][NV];
    for (int h = 0; h < H; ++h)
      for (int v = 0; v < NV; ++v) acc[h][v] = load_v(sums + h * kRow + v * kLanes);
    if (o.narrow && NV == 2 && o.cuts > 0) return put_narrow<H>(acc, pixel);
    for (int h = 0; h < H; ++h) finish_integer<NV>(target(pixel, h), acc[h]);
  }
  Target target(const Pixel& pixel, int64_t h) const {
    return {k_, {pixel.number + h, pixel.row, pixel.col + h}, 0, k_.n};
  }

  /// As finish_narrow, in the order of the channels.
  template <int H>
  [[gnu::always_inline]] void put_narrow(const V (&raw)[H][NV], const Pixel& pixel) const {
    const Outcome& o = k_.outcome;
    S acc[H];
    for (int h = 0; h < H; ++h) acc[h] = shift_left_s(in_order(narrow(raw[h][0], raw[h][NV - 1])), o.shift);
    if (o.border)
      for (int h = 0; h < H; ++h) {
        const int32_t* const border = o.border + k_.at[pixel.number + h];
        acc[h] = add_s(acc[h], in_order(narrow(load_v(border), load_v(border + kLanes))));
      }
    if (o.flip)
      for (int h = 0; h < H; ++h) acc[h] = xor_s(acc[h], cuts_.flip.half[0]);
    put_levels<H>(pixel, [&](int h, int64_t l) { return _mm512_cmpge_epi16_mask(acc[h], cuts_.cut[l].half[0]); });
  }

  template <int H>
  [[gnu::always_inline]] void put_learned(const int32_t* sums, const Pixel& pixel) const {
    const Outcome& o = k_.outcome;
    F r[H][NV];
    for (int v = 0; v < NV; ++v) {
      const F offset = load_f(o.offset + v * kLanes);
      for (int h = 0; h < H; ++h) r[h][v] = offset;
    }
    for (int64_t i = 0; i < count_; ++i)
      for (int v = 0; v < NV; ++v) {
        const F factor = load_f(o.real_factor + i * o.stride + v * kLanes);
        for (int h = 0; h < H; ++h) {
          const F count = to_f(load_v(sums + i * kPlane + h * kRow + v * kLanes));
          r[h][v] = add_f(r[h][v], mul_f(count, factor));
        }
      }
    if (o.kind != Outcome::kLevels || H == 1) {
      for (int h = 0; h < H; ++h) finish_learned<NV>(target(pixel, h), r[h]);
      return;
    }
    add_terms<H>(r, pixel);
    put_levels<H>(pixel, [&](int h, int64_t l) {
      const F threshold = spread_f(o.threshold[l]);
      const __mmask16 high = NV == 1 ? 0 : _mm512_cmp_ps_mask(r[h][NV - 1], threshold, _CMP_GT_OQ);
      return _mm512_kunpackw(high, _mm512_cmp_ps_mask(r[h][0], threshold, _CMP_GT_OQ));
    });
  }
  /// What follows the terms of the counts, as in finish_learned.
  template <int H>
  [[gnu::always_inline]] void add_terms(F (&r)[H][NV], const Pixel& pixel) const {
    const Outcome& o = k_.outcome;
    for (int64_t j = 0; o.sum_factor && j < k_.a_bits; ++j) {
      const int32_t* const sums = k_.sums + j * k_.sum_plane + pixel.number;
      for (int v = 0; v < NV; ++v) {
        const F factor = load_f(o.sum_factor + j * o.stride + v * kLanes);
        for (int h = 0; h < H; ++h) r[h][v] = add_f(r[h][v], mul_f(spread_f(static_cast<float>(sums[h])), factor));
      }
    }
    if (!o.real_border) return;
    for (int h = 0; h < H; ++h)
      for (int v = 0; v < NV; ++v)
        r[h][v] = add_f(r[h][v], load_f(o.real_border + k_.at[pixel.number + h] + v * kLanes));
  }

  /// Codes of levels, of which reached(pixel, l) tells whether cut l, and with it all before, is reached.
  template <int H, class Reached>
  [[gnu::always_inline]] void put_levels(const Pixel& pixel, const Reached& reached) const {
    __m256i codes[H];
    for (int h = 0; h < H; ++h) codes[h] = codes_[0];
    for (int64_t l = 0; l < k_.outcome.cuts; ++l)
      for (int h = 0; h < H; ++h) codes[h] = _mm256_mask_mov_epi8(codes[h], reached(h, l), codes_[l + 1]);
    uint8_t* to = static_cast<uint8_t*>(k_.y) + target(pixel, 0).to();
    for (int h = 0; h < H; ++h, to += k_.y_col) {
      if (k_.n == 32)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), codes[h]);
      else
        _mm256_mask_storeu_epi8(to, static_cast<__mmask32>(first_bytes(k_.n)), codes[h]);
    }
  }

  const Correlate& k_;
  amx::Walk walk_;
  NarrowCuts<NV, true> cuts_;
  __m256i codes_[kMostCuts + 1];
  int64_t count_;
  int turn_ = 0;
  alignas(64) int32_t sums_[2][kMostByteSums * kPlane];
};

/// Places [first, end) by Rows at a time, without a rest.
template <int Rows, int NV>
void sum_places(const Correlate& k, const amx::Window& window, const amx::Places& places, int64_t first, int64_t end,
                Pending<NV>& pending) {
  if (first == end) return;
  const int64_t plane = k.segs * k.steps * NV * kLanes * 4;
  int32_t* before = nullptr;
  for (int64_t at = first; at < end; at += Rows) {
    pending.all();
    if (at > first) pending.start(at - Rows, Rows);
    for (int i = 0; i < k.w_bits; ++i)
      for (int j = 0; j < k.a_bits; ++j) {
        const uint8_t* x[Rows];
        for (int r = 0; r < Rows; ++r) {
          const amx::Places::Place place = places[at + r];
          x[r] = k.x + j * k.x_plane + place.row * k.x_row + place.col * k.x_col;
        }
        amx::sum_window<Rows, NV>(window, x, k.w + i * plane, before, [&] { pending.some(); });
        before = pending.sums(i * k.a_bits + j);
      }
  }
  pending.all();
  amx::store_all<Rows, NV>(before);
  pending.start(end - Rows, Rows);
  pending.all();
}

template <int NV>
void bytes_of(const Correlate& k) {
  constexpr int kRows = 4 / NV;
  const amx::Window window{k.x_col, k.seg, k.segs, k.steps, amx::quads_of(k.steps)};
  const amx::Places places(k.rows, k.cols, k.x_row, k.x_col);
  const amx::Registers registers(places.pixels(), window.quads);
  Pending<NV> pending(k, places);
  const int64_t most = places.count() / kRows * kRows;
  sum_places<kRows>(k, window, places, 0, most, pending);
  sum_places<1>(k, window, places, most, places.count(), pending);
}

void bytes(const Correlate& k) { k.n <= kLanes ? bytes_of<1>(k) : bytes_of<2>(k); }

/// Whole codes of a pixel.
void spread_codes(const uint8_t* x, int64_t channels, V mask, uint8_t* to) {
  for (int64_t c = 0; c < channels; c += 64) {
    const __mmask64 there = first_bytes(channels - c);
    _mm512_mask_storeu_epi8(to + c, there, _mm512_and_si512(_mm512_maskz_loadu_epi8(there, x + c), mask));
  }
}

/// One bit of the codes of a pixel, and how often it is set.
int32_t spread_bits(const uint8_t* x, int64_t channels, V bit, uint8_t* to) {
  int32_t sum = 0;
  for (int64_t c = 0; c < channels; c += 64) {
    const __mmask64 there = first_bytes(channels - c);
    const __mmask64 set = _mm512_test_epi8_mask(_mm512_maskz_loadu_epi8(there, x + c), bit);
    _mm512_mask_storeu_epi8(to + c, there, _mm512_maskz_set1_epi8(set, 1));
    sum += __builtin_popcountll(set);
  }
  return sum;
}

void spread(const Pixels& p) {
  const V all = _mm512_set1_epi8(static_cast<char>((1 << p.a_bits) - 1));
  for (int64_t i = 0; i < p.pixels; ++i) {
    const uint8_t* x = p.x + i * p.x_pitch;
    uint8_t* to = p.to + i * p.to_pitch;
    if (p.planes < p.a_bits) {
      spread_codes(x, p.channels, all, to);
      continue;
    }
    for (int j = 0; j < p.planes; ++j) {
      const V bit = _mm512_set1_epi8(static_cast<char>(1 << j));
      const int32_t sum = spread_bits(x, p.channels, bit, to + j * p.to_plane);
      if (p.sums) p.sums[j * p.sum_plane + i] = sum;
    }
  }
}

constexpr Kernels with_bytes() {
  Kernels kernels = kTable;
  kernels.thread_work = 1 << 21;
  kernels.bytes = bytes;
  kernels.spread = spread;
  return kernels;
}
constexpr Kernels kAmxTable = with_bytes();

}  // namespace

const Kernels& gemm_amx();
const Kernels& gemm_amx() { return kAmxTable; }

}  // namespace nibble::bits
