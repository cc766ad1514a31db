#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/int8_gemm/int8_gemm.h"

namespace nibble::int8 {
namespace {

using V = __m512i;
using F = __m512;
using A = __m512i;
using X = __m512i;
using W = __m512i;
using Block = __m512i;
constexpr Operand kOperand = Operand::u8_s8;
constexpr int64_t kLanes = 16;
constexpr int kHalf1 = 14, kHalf2 = 7;  // 28 accumulators, 1 or 2 vectors of weights, the codes of a pixel
// Unpacking two vectors of 16-bit values pairs them within each 128 bits.
constexpr uint8_t kOrder[2 * kLanes] = {0, 1, 2, 3, 8,  9,  10, 11, 16, 17, 18, 19, 24, 25, 26, 27,
                                        4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31};

V load_v(const int32_t* p) { return _mm512_loadu_si512(p); }
void store_v(int32_t* p, V v) { _mm512_storeu_si512(p, v); }
V spread_v(int32_t v) { return _mm512_set1_epi32(v); }
V add(V a, V b) { return _mm512_add_epi32(a, b); }
V sub(V a, V b) { return _mm512_sub_epi32(a, b); }
V mul(V a, V b) { return _mm512_mullo_epi32(a, b); }
V shift_left(V a, int count) { return _mm512_slli_epi32(a, static_cast<unsigned>(count)); }
F load_f(const float* p) { return _mm512_loadu_ps(p); }
void store_f(float* p, F v) { _mm512_storeu_ps(p, v); }
F spread_f(float v) { return _mm512_set1_ps(v); }
F max_f(F a, F b) { return _mm512_max_ps(a, b); }
F min_f(F a, F b) { return _mm512_min_ps(a, b); }
F add_f(F a, F b) { return _mm512_add_ps(a, b); }
F mul_f(F a, F b) { return _mm512_mul_ps(a, b); }
F div_f(F a, F b) { return _mm512_div_ps(a, b); }
F to_f(V v) { return _mm512_cvtepi32_ps(v); }
V nearest(F v) { return _mm512_cvtps_epi32(_mm512_min_ps(v, _mm512_set1_ps(65536))); }

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

struct Fixed {
  V multiplier, odd_multiplier, right, mask, half;
};
Fixed load_fixed(const Outcome& o, int64_t c) {
  const V m = load_v(o.multiplier + c), mask = load_v(o.right_mask + c);
  return {m, _mm512_srli_epi64(m, 32), load_v(o.right + c), mask, _mm512_srli_epi32(mask, 1)};
}
V fixed_value(V a, const Fixed& f) {
  const V nudge = _mm512_set1_epi64(int64_t{1} << 30);
  const V even = _mm512_add_epi64(_mm512_mul_epi32(a, f.multiplier), nudge);
  const V odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(a, 32), f.odd_multiplier), nudge);
  const V high = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 31), _mm512_add_epi64(odd, odd));
  const V threshold = _mm512_sub_epi32(f.half, _mm512_srai_epi32(high, 31));
  const __mmask16 up = _mm512_cmpgt_epi32_mask(_mm512_and_si512(high, f.mask), threshold);
  const V down = _mm512_srav_epi32(high, f.right);
  return _mm512_mask_sub_epi32(down, up, down, _mm512_set1_epi32(-1));
}

#define NIBBLE_FOLDED
struct Folded {
  V multiplier, odd_multiplier;  // 64 bits: of the even lanes, of the odd lanes
  V nudge, odd_nudge;            // bias * multiplier + 2^30 + 2^31 half
  V right, less, half;           // less = right - 1
};
V odd_lanes(V a) { return _mm512_shuffle_epi32(a, static_cast<_MM_PERM_ENUM>(0xF5)); }
Folded fold(V multiplier, V bias, V right, V mask) {
  const V half = sub(mask, _mm512_srli_epi32(mask, 1)), unit = _mm512_set1_epi64(int64_t{1} << 31);
  const V odd = odd_lanes(multiplier), first = _mm512_set1_epi64(int64_t{1} << 30);
  const V nudge = _mm512_add_epi64(_mm512_mul_epi32(bias, multiplier), _mm512_mul_epu32(half, unit));
  const V odd_nudge = _mm512_add_epi64(_mm512_mul_epi32(odd_lanes(bias), odd), _mm512_mul_epu32(odd_lanes(half), unit));
  return {multiplier,
          odd,
          _mm512_add_epi64(nudge, first),
          _mm512_add_epi64(odd_nudge, first),
          right,
          sub(right, spread_v(1)),
          half};
}
Folded load_folded(const Outcome& o, int64_t c) {
  return fold(load_v(o.multiplier + c), load_v(o.bias + c), load_v(o.right + c), load_v(o.right_mask + c));
}
V folded_above(V a, const Folded& f) {
  const V even = _mm512_add_epi64(_mm512_mul_epi32(a, f.multiplier), f.nudge);
  const V odd = _mm512_add_epi64(_mm512_mul_epi32(odd_lanes(a), f.odd_multiplier), f.odd_nudge);
  const V high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, static_cast<_MM_PERM_ENUM>(0xF5));
  return _mm512_srav_epi32(high, f.less);
}
V folded_value(V a, const Folded& f) {
  const V even = _mm512_add_epi64(_mm512_mul_epi32(a, f.multiplier), f.nudge);
  const V odd = _mm512_add_epi64(_mm512_mul_epi32(odd_lanes(a), f.odd_multiplier), f.odd_nudge);
  const V high = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 31), _mm512_add_epi64(odd, odd));
  const __mmask16 negative = _mm512_cmplt_epi32_mask(high, f.half);
  return _mm512_srav_epi32(_mm512_mask_sub_epi32(high, negative, high, spread_v(1)), f.right);
}
F madd_f(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
V to_v(F v) { return _mm512_cvtps_epi32(v); }
V saturating_left(V a, V left) {
  const V shifted = _mm512_sllv_epi32(a, left);
  const __mmask16 lost = _mm512_cmpneq_epi32_mask(_mm512_srav_epi32(shifted, left), a);
  const V bound = _mm512_xor_si512(_mm512_srai_epi32(a, 31), _mm512_set1_epi32(0x7FFFFFFF));
  return _mm512_mask_mov_epi32(shifted, lost, bound);
}

struct Limits {
  V zero, lo, hi;
};
Limits load_limits(const Outcome& o) {
  return {_mm512_set1_epi16(static_cast<short>(o.zero)), _mm512_set1_epi8(static_cast<char>(o.lo)),
          _mm512_set1_epi8(static_cast<char>(o.hi))};
}
Block narrow(V a, V b, V c, V d, const Limits& l) {
  const V ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), l.zero);
  const V cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), l.zero);
  const V codes = _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(ab, cd), l.lo), l.hi);
  // Each 128 bits hold four codes of a, b, c and d.
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), codes);
}
void store_block(uint8_t* p, Block b) { _mm512_storeu_si512(p, b); }

#define NIBBLE_STORE_PARTS
#define NIBBLE_QUADS
template <int NV>
void store_parts(uint8_t* y, int64_t step, Block b) {
  if (step == NV * kLanes) return _mm512_storeu_si512(y, b);
  if constexpr (NV == 2) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_castsi512_si256(b));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + step), _mm512_extracti64x4_epi64(b, 1));
  } else {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm512_castsi512_si128(b));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + step), _mm512_extracti32x4_epi32(b, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + 2 * step), _mm512_extracti32x4_epi32(b, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + 3 * step), _mm512_extracti32x4_epi32(b, 3));
  }
}

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

#define NIBBLE_FLAT_STEPS 64
#include "quant/kernels/int8_gemm/tile.inc"

}  // namespace

const Kernels& gemm_avx512vnni();
const Kernels& gemm_avx512vnni() { return kTable; }

}  // namespace nibble::int8
