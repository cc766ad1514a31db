#include "quant/kernels/amx.h"

#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/bit_gemm/bit_gemm.h"

namespace nibble::bits {
namespace {

#include "quant/kernels/bit_gemm/zmm_bits.inc"

/// The sums of some places on their way to outputs.
template <int NV>
class Pending {
 public:
  Pending(const Correlate& k, const amx::Places& places)
      : k_(k), places_(places), cuts_(k.outcome, 0), count_(k.w_bits * k.a_bits) {}
  /// Of plane `plane` of the places that are summed up now.
  int32_t* sums(int64_t plane) { return sums_[turn_ ^ 1] + plane * kPlane; }
  /// What was summed up goes out, and other sums begin.
  void start(int64_t first, int64_t count) {
    turn_ ^= 1;
    at_ = first_ = first, end_ = first + count;
    enter();
  }
  /// A few pixels: what vectors do while tiles multiply once.
  [[gnu::noinline]] void some() {
    if (at_ == end_) return;
    const int32_t* const sums = sums_[turn_] + (at_ - first_) * amx::kPixels * kRow;
    pixel_ = places_.put_run(place_, pixel_, kMost, [&](int64_t pixel, int64_t row, int64_t col, int64_t n) {
      for (int64_t i = 0; i < n; ++i) put(sums + (pixel + i) * kRow, {row * k_.cols + col + i, row, col + i});
    });
    if (pixel_ < places_.pixels()) return;
    ++at_;
    enter();
  }
  void all() {
    while (at_ != end_) some();
  }

 private:
  static constexpr int64_t kMost = 4, kRow = NV * kLanes, kPlane = 4 / NV * amx::kPixels * kRow;

  void put(const int32_t* sums, const Pixel& pixel) const {
    const Target to{k_, pixel, 0, k_.n};
    if (k_.outcome.learned) return put_learned(sums, to);
    V raw[NV];
    for (int v = 0; v < NV; ++v) raw[v] = load_v(sums + v * kLanes);
    if (!k_.outcome.narrow) return finish_integer<NV>(to, raw);
    Narrow<NV, false> acc;
    acc.half[0] = narrow(part(raw, 0), part(raw, 1));
    finish_narrow<NV, false>(to, acc, cuts_);
  }
  void put_learned(const int32_t* sums, const Target& to) const {
    const Outcome& o = k_.outcome;
    F r[NV];
    for (int v = 0; v < NV; ++v) r[v] = load_f(o.offset + v * kLanes);
    for (int64_t i = 0; i < count_; ++i)
      for (int v = 0; v < NV; ++v)
        r[v] = add_f(r[v], mul_f(to_f(load_v(sums + i * kPlane + v * kLanes)),
                                 load_f(o.real_factor + i * o.stride + v * kLanes)));
    finish_learned<NV>(to, r);
  }
  void enter() {
    if (at_ == end_) return;
    place_ = places_[at_];
    pixel_ = place_.skip;
  }

  const Correlate& k_;
  const amx::Places& places_;
  NarrowCuts<NV> cuts_;
  int64_t count_;
  int64_t first_ = 0, at_ = 0, end_ = 0, pixel_ = 0;
  int turn_ = 0;
  amx::Places::Place place_{};
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

void spread(const Pixels& p) {
  for (int64_t i = 0; i < p.pixels; ++i)
    for (int j = 0; j < p.planes; ++j) {
      const uint8_t* x = p.x + i * p.x_pitch;
      uint8_t* to = p.to + i * p.to_pitch + j * p.to_plane;
      const int first_bit = p.planes == 1 ? 0 : j, bits = p.planes == 1 ? p.a_bits : 1;
      const V mask = _mm512_set1_epi8(static_cast<char>(((1 << bits) - 1) << first_bit));
      V sum = _mm512_setzero_si512();
      for (int64_t c = 0; c < p.channels; c += 64) {
        const __mmask64 there = first_bytes(p.channels - c);
        const V codes = _mm512_and_si512(_mm512_maskz_loadu_epi8(there, x + c), mask);
        // Bits of the bytes above stay away: the mask has left none.
        const V values = _mm512_srli_epi16(codes, static_cast<unsigned>(first_bit));
        _mm512_mask_storeu_epi8(to + c, there, values);
        sum = _mm512_add_epi64(sum, _mm512_sad_epu8(values, _mm512_setzero_si512()));
      }
      if (p.sums) p.sums[j * p.sum_plane + i] = static_cast<int32_t>(_mm512_reduce_add_epi64(sum));
    }
}

constexpr Kernels with_bytes() {
  Kernels kernels = kTable;
  kernels.bytes = bytes;
  kernels.spread = spread;
  return kernels;
}
constexpr Kernels kAmxTable = with_bytes();

}  // namespace

const Kernels& gemm_amx();
const Kernels& gemm_amx() { return kAmxTable; }

}  // namespace nibble::bits
