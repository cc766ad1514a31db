#include <immintrin.h>

#include <cstdint>

#include "core/kernels/conv_f32/conv_f32.h"

namespace nibble::conv_f32 {
namespace {

using V = __m512;
using Part = __mmask16;
constexpr int64_t kLanes = 16;
constexpr int kHalf1 = 14, kHalf2 = 7;  // 28 accumulators, 1 or 2 vectors of weights, the input from memory or spread
constexpr int kOuter1 = 14, kOuter2 = 14, kOuter3 = 9;

V zero() { return _mm512_setzero_ps(); }
V load(const float* p) { return _mm512_loadu_ps(p); }
void store(float* p, V v) { _mm512_storeu_ps(p, v); }
V add(V a, V b) { return _mm512_add_ps(a, b); }
V sub(V a, V b) { return _mm512_sub_ps(a, b); }
V value(float v) { return _mm512_set1_ps(v); }
V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
V spread(const float* p) { return _mm512_set1_ps(*p); }
Part part(int64_t n) { return n >= kLanes ? Part{0xFFFF} : static_cast<Part>((1u << n) - 1); }
V load_part(const float* p, Part m) { return _mm512_maskz_loadu_ps(m, p); }
void store_part(float* p, V v, Part m) { _mm512_mask_storeu_ps(p, m, v); }

#include "core/kernels/conv_f32/tile.inc"

}  // namespace

const Kernels& avx512();
const Kernels& avx512() { return kTable; }

}  // namespace nibble::conv_f32
