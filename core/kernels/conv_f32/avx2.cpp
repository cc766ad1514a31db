#include <immintrin.h>

#include <cstdint>

#include "core/kernels/conv_f32/conv_f32.h"

namespace nibble::conv_f32 {
namespace {

using V = __m256;
struct Part {
  __m256i mask;
};
constexpr int64_t kLanes = 8;
constexpr int kHalf1 = 6, kHalf2 = 3;  // 12 accumulators, 1 or 2 vectors of weights, the input
constexpr int kOuter1 = 12, kOuter2 = 6, kOuter3 = 4;

V zero() { return _mm256_setzero_ps(); }
V load(const float* p) { return _mm256_loadu_ps(p); }
void store(float* p, V v) { _mm256_storeu_ps(p, v); }
V add(V a, V b) { return _mm256_add_ps(a, b); }
V sub(V a, V b) { return _mm256_sub_ps(a, b); }
V value(float v) { return _mm256_set1_ps(v); }
V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
V spread(const float* p) { return _mm256_broadcast_ss(p); }
Part part(int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return {_mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n < kLanes ? n : kLanes)), lane)};
}
V load_part(const float* p, Part m) { return _mm256_maskload_ps(p, m.mask); }
void store_part(float* p, V v, Part m) { _mm256_maskstore_ps(p, m.mask, v); }

#include "core/kernels/conv_f32/tile.inc"

}  // namespace

const Kernels& avx2();
const Kernels& avx2() { return kTable; }

}  // namespace nibble::conv_f32
