#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/int8_gemm/int8_gemm.h"

namespace nibble::int8 {
namespace {

using V = __m128i;
using F = __m128;
using A = __m128i;
using X = __m128i;
using W = __m128i;
using Block = __m128i;
constexpr Operand kOperand = Operand::s16_s16;
constexpr int64_t kLanes = 4;
constexpr int kHalf1 = 5, kHalf2 = 2;  // 10 or 8 accumulators of 16 registers
constexpr uint8_t kOrder[2 * kLanes] = {0, 1, 2, 3, 4, 5, 6, 7};

V load_bytes(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
V load_v(const int32_t* p) { return load_bytes(p); }
void store_v(int32_t* p, V v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
V spread_v(int32_t v) { return _mm_set1_epi32(v); }
V add(V a, V b) { return _mm_add_epi32(a, b); }
V sub(V a, V b) { return _mm_sub_epi32(a, b); }
V mul(V a, V b) { return _mm_mullo_epi32(a, b); }
V shift_left(V a, int count) { return _mm_slli_epi32(a, count); }
F load_f(const float* p) { return _mm_loadu_ps(p); }
void store_f(float* p, F v) { _mm_storeu_ps(p, v); }
F spread_f(float v) { return _mm_set1_ps(v); }
F max_f(F a, F b) { return _mm_max_ps(a, b); }
F min_f(F a, F b) { return _mm_min_ps(a, b); }
F add_f(F a, F b) { return _mm_add_ps(a, b); }
F mul_f(F a, F b) { return _mm_mul_ps(a, b); }
F div_f(F a, F b) { return _mm_div_ps(a, b); }
F to_f(V v) { return _mm_cvtepi32_ps(v); }
V nearest(F v) { return _mm_cvtps_epi32(_mm_min_ps(v, _mm_set1_ps(65536))); }

A zero_acc() { return _mm_setzero_si128(); }
V total(A a) { return a; }
void hold(A& a) { __asm__ volatile("" : "+x"(a)); }
X spread(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm_set1_epi32(v);
}
W load_w(const uint8_t* p) { return load_bytes(p); }
// Sums of pairs of products of 16 bits are exact; a multiply-add of bytes would saturate, but for runs.
A dot(A a, X x, W w) { return add(a, _mm_madd_epi16(x, w)); }

#define NIBBLE_RUNS
constexpr int kRunPixels = 6;
V byte_dot(X x, W w) { return _mm_maddubs_epi16(x, w); }
void add_short(V& a, V b) { __asm__ volatile("paddw %1, %0" : "+x"(a) : "x"(b)); }
V widen(V a) { return _mm_madd_epi16(a, _mm_set1_epi16(1)); }

V load_codes(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(v));
}

// There are no shifts by lane: one shift for each lane's count, and the lanes put together.
struct Fixed {
  V multiplier, odd_multiplier, mask, half;
  const int32_t* right;
};
Fixed load_fixed(const Outcome& o, int64_t c) {
  const V m = load_v(o.multiplier + c), mask = load_v(o.right_mask + c);
  return {m, _mm_srli_epi64(m, 32), mask, _mm_srli_epi32(mask, 1), o.right + c};
}
V shift_right(V a, const int32_t* counts) {
  const V lane0 = _mm_sra_epi32(a, _mm_cvtsi32_si128(counts[0])),
          lane1 = _mm_sra_epi32(a, _mm_cvtsi32_si128(counts[1]));
  const V lane2 = _mm_sra_epi32(a, _mm_cvtsi32_si128(counts[2])),
          lane3 = _mm_sra_epi32(a, _mm_cvtsi32_si128(counts[3]));
  return _mm_blend_epi16(_mm_blend_epi16(lane0, lane1, 0x0C), _mm_blend_epi16(lane2, lane3, 0xC0), 0xF0);
}
V fixed_value(V a, const Fixed& f) {
  const V nudge = _mm_set1_epi64x(int64_t{1} << 30);
  const V even = _mm_add_epi64(_mm_mul_epi32(a, f.multiplier), nudge);
  const V odd = _mm_add_epi64(_mm_mul_epi32(_mm_srli_epi64(a, 32), f.odd_multiplier), nudge);
  const V high = _mm_blend_epi16(_mm_srli_epi64(even, 31), _mm_add_epi64(odd, odd), 0xCC);
  const V threshold = _mm_sub_epi32(f.half, _mm_srai_epi32(high, 31));
  const V up = _mm_cmpgt_epi32(_mm_and_si128(high, f.mask), threshold);
  return _mm_sub_epi32(shift_right(high, f.right), up);
}
V saturating_left(V a, V left) {
  alignas(16) int32_t values[kLanes], counts[kLanes];
  store_v(values, a);
  store_v(counts, left);
  for (int i = 0; i < kLanes; ++i) {
    const int64_t wide = int64_t{values[i]} * (int64_t{1} << counts[i]);
    values[i] = wide < INT32_MIN ? INT32_MIN : wide > INT32_MAX ? INT32_MAX : static_cast<int32_t>(wide);
  }
  return load_v(values);
}

struct Limits {
  V zero, lo, hi;
};
Limits load_limits(const Outcome& o) {
  return {_mm_set1_epi16(static_cast<short>(o.zero)), _mm_set1_epi8(static_cast<char>(o.lo)),
          _mm_set1_epi8(static_cast<char>(o.hi))};
}
Block narrow(V a, V b, V c, V d, const Limits& l) {
  const V ab = _mm_adds_epi16(_mm_packs_epi32(a, b), l.zero), cd = _mm_adds_epi16(_mm_packs_epi32(c, d), l.zero);
  return _mm_min_epu8(_mm_max_epu8(_mm_packus_epi16(ab, cd), l.lo), l.hi);
}
void store_block(uint8_t* p, Block b) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), b); }

struct PairX {
  V lo, hi;
};
PairX pair_x(const uint8_t* a, const uint8_t* b) {
  const V wide_a = _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(a)));
  const V wide_b = _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(b)));
  return {_mm_unpacklo_epi16(wide_a, wide_b), _mm_unpackhi_epi16(wide_a, wide_b)};
}
void pair_dot(V (&acc)[2], const PairX& x, const int16_t* w) {
  acc[0] = add(acc[0], _mm_madd_epi16(x.lo, load_bytes(w)));
  acc[1] = add(acc[1], _mm_madd_epi16(x.hi, load_bytes(w + 2 * kLanes)));
}
void in_order(V (&)[2]) {}

#include "quant/kernels/int8_gemm/tile.inc"

}  // namespace

const Kernels& gemm_sse4();
const Kernels& gemm_sse4() { return kTable; }

}  // namespace nibble::int8
