#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/bf16_gemm/bf16_gemm.h"
#include "quant/kernels/quads.h"

namespace nibble::bf16 {
namespace {

using TileSum = float;
#define NIBBLE_TILE_PRODUCT(sums, x, w) _tile_dpbf16ps(sums, x, w)
#include "quant/kernels/amx.inc"

constexpr int64_t kLanes = 16;

// Bytes of the bf16 values of up to 16 floats, of which only those in `live` are read.
__m256i rounded(const float* x, __mmask16 live) {
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(live, x)));
}

__mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << (n < kLanes ? n : kLanes)) - 1); }

void round(const float* x, int64_t n, uint16_t* to) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), rounded(x + i, 0xFFFF));
  if (i == n) return;
  const __mmask16 live = first_lanes(n - i);
  _mm256_mask_storeu_epi16(to + i, live, rounded(x + i, live));
}

// The sums of some places on their way to outputs.
class Pending {
 public:
  Pending(const Correlate& k, const amx::Places& places) : k_(k), walk_(places), live_(first_lanes(k.n)) {
    factor_ = k.factor ? _mm512_maskz_loadu_ps(live_, k.factor) : _mm512_set1_ps(1);
    offset_ = k.offset ? _mm512_maskz_loadu_ps(live_, k.offset) : _mm512_setzero_ps();
  }
  float* sums() { return sums_; }
  void start(int64_t first, int64_t count) { walk_.start(first, count); }
  // A few pixels: what vectors do while tiles multiply.
  [[gnu::noinline]] void some() {
    const int64_t left = walk_.left(), n = left < kMost ? left : kMost, step = k_.y_col;
    if (n == 0) return;
    const int64_t at = walk_.row() * k_.y_row + walk_.col() * step;
    const float *const from = sums_ + walk_.number() * kPanel, *const base = k_.base + at;
    float* const y = k_.y + at;
    for (int64_t i = 0; i < n; ++i) {
      const __m512 sum = _mm512_add_ps(_mm512_load_ps(from + i * kPanel), offset_);
      const __m512 old = _mm512_maskz_loadu_ps(live_, base + i * step);
      _mm512_mask_storeu_ps(y + i * step, live_, _mm512_fmadd_ps(old, factor_, sum));
    }
    walk_.go_on(n);
  }
  void all() {
    while (walk_.left() != 0) some();
  }

 private:
  static constexpr int64_t kMost = 16;
  const Correlate& k_;
  amx::Walk walk_;
  __mmask16 live_;
  __m512 factor_, offset_;
  alignas(64) float sums_[4 * amx::kPixels * kPanel];
};

void correlate(const Correlate& k) {
  const amx::Window window{2 * k.x_col, k.seg, k.segs, k.pairs, amx::quads_of(k.pairs)};
  const amx::Places places(k.rows, k.cols, 2 * k.x_row, window.pitch);
  Pending pending(k, places);
  amx::sum_all_places<1>(window, places, reinterpret_cast<const uint8_t*>(k.x), 2 * k.x_row, window.pitch,
                         reinterpret_cast<const uint8_t*>(k.w), pending);
}

}  // namespace

const Kernels& gemm_amx();
const Kernels& gemm_amx() {
  static constexpr Kernels kernels{round, correlate};
  return kernels;
}

}  // namespace nibble::bf16
