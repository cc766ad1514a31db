#include <immintrin.h>

#include "core/kernels/peak_f32/peak_f32.h"

namespace nibble::peak_f32 {

Peak avx512;

int64_t avx512(int64_t rounds, float* io) {
  constexpr int kChains = 24, kLanes = 16;
  const __m512 a = _mm512_set1_ps(io[0]), b = _mm512_set1_ps(io[1]);
  __m512 chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) chain[i] = _mm512_fmadd_ps(chain[i], a, b);
  }
  float sum = 0, lanes[kLanes];
  for (int i = 0; i < kChains; ++i) {
    _mm512_storeu_ps(lanes, chain[i]);
    for (int j = 0; j < kLanes; ++j) sum += lanes[j];
  }
  io[2] = sum;
  return rounds * kChains * kLanes;
}

}  // namespace nibble::peak_f32
