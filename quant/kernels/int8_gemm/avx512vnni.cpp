#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/int8_gemm/int8_gemm.h"

namespace nibble::int8 {
namespace {

#include "quant/kernels/int8_gemm/zmm.inc"

using A = __m512i;
using X = __m512i;
using W = __m512i;
constexpr Operand kOperand = Operand::u8_s8;
constexpr int kHalf1 = 14, kHalf2 = 7;  // 28 accumulators, 1 or 2 vectors of weights, the codes of a pixel
// Unpacking two vectors of 16-bit values pairs them within each 128 bits.
constexpr uint8_t kOrder[2 * kLanes] = {0, 1, 2, 3, 8,  9,  10, 11, 16, 17, 18, 19, 24, 25, 26, 27,
                                        4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31};

F div_f(F a, F b) { return _mm512_div_ps(a, b); }
A zero_acc() { return _mm512_setzero_si512(); }
V total(A a) { return a; }
void hold(A& a) { __asm__ volatile("" : "+v"(a)); }
X spread(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm512_set1_epi32(v);
}
W load_w(const uint8_t* p) { return _mm512_loadu_si512(p); }
A dot(A a, X x, W w) { return _mm512_dpbusd_epi32(a, x, w); }

V load_codes(const uint8_t* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

F madd_f(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
V to_v(F v) { return _mm512_cvtps_epi32(v); }

struct PairX {
  V lo, hi;
};
PairX pair_x(const uint8_t* a, const uint8_t* b) {
  const V wide_a = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a)));
  const V wide_b = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)));
  return {_mm512_unpacklo_epi16(wide_a, wide_b), _mm512_unpackhi_epi16(wide_a, wide_b)};
}
void pair_dot(V (&acc)[2], const PairX& x, const int16_t* w) {
  acc[0] = _mm512_dpwssd_epi32(acc[0], x.lo, _mm512_loadu_si512(w));
  acc[1] = _mm512_dpwssd_epi32(acc[1], x.hi, _mm512_loadu_si512(w + 2 * kLanes));
}
void in_order(V (&v)[2]) {
  const V first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  const V lo = _mm512_permutex2var_epi64(v[0], first, v[1]);
  v[1] = _mm512_permutex2var_epi64(v[0], second, v[1]);
  v[0] = lo;
}

#define NIBBLE_QUADS
#define NIBBLE_FLAT_STEPS 64
#include "quant/kernels/int8_gemm/tile.inc"

}  // namespace

const Kernels& gemm_avx512vnni();
const Kernels& gemm_avx512vnni() { return kTable; }

}  // namespace nibble::int8
