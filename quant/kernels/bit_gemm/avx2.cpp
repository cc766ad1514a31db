#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/bit_gemm/bit_gemm.h"

namespace nibble::bits {
namespace {

using V = __m256i;
using F = __m256;
using W = __m256i;
using B = __m256i;
constexpr int64_t kLanes = 8;

V load_v(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
V spread_v(int32_t v) { return _mm256_set1_epi32(v); }
V add(V a, V b) { return _mm256_add_epi32(a, b); }
V mul(V a, V b) { return _mm256_mullo_epi32(a, b); }
V shift_left(V a, int count) { return _mm256_slli_epi32(a, count); }
V bit_xor(V a, V b) { return _mm256_xor_si256(a, b); }
V clamp_v(V v, V lo, V hi) { return _mm256_min_epi32(_mm256_max_epi32(v, lo), hi); }
F to_f(V v) { return _mm256_cvtepi32_ps(v); }
V nearest(F v) { return _mm256_cvtps_epi32(v); }
F load_f(const float* p) { return _mm256_loadu_ps(p); }
F spread_f(float v) { return _mm256_set1_ps(v); }
F add_f(F a, F b) { return _mm256_add_ps(a, b); }
F mul_f(F a, F b) { return _mm256_mul_ps(a, b); }
F clamp_f(F v, F lo, F hi) { return _mm256_min_ps(_mm256_max_ps(v, lo), hi); }
// level + 1 - (cut > a)
V count_ge(V level, V a, V cut) {
  return _mm256_add_epi32(_mm256_sub_epi32(level, _mm256_set1_epi32(-1)), _mm256_cmpgt_epi32(cut, a));
}
V count_gt(V level, F r, F t) { return _mm256_sub_epi32(level, _mm256_castps_si256(_mm256_cmp_ps(r, t, _CMP_GT_OQ))); }

void store(uint8_t* p, const void* from, int64_t bytes) {
  const auto* x = static_cast<const uint8_t*>(from);
  for (int64_t i = 0; i < bytes; ++i) p[i] = x[i];
}
void store_v(int32_t* p, V v, int64_t n) {
  if (n >= kLanes) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  const V lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const int32_t count = n < 0 ? 0 : static_cast<int32_t>(n);
  _mm256_maskstore_epi32(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane), v);
}
F load_first_f(const float* p, int64_t n) {
  if (n >= kLanes) return load_f(p);
  const V lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(n)), lane));
}
void store_f(float* p, F v, int64_t n) { store_v(reinterpret_cast<int32_t*>(p), _mm256_castps_si256(v), n); }

/// The first n codes, through 16 codes or as they are.
void store_first(uint8_t* p, __m256i bytes, int64_t n, const uint8_t* codes) {
  if (codes) {
    const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
    bytes = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), bytes);
  }
  if (n >= 32) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bytes);
  alignas(32) uint8_t buffer[32];
  _mm256_store_si256(reinterpret_cast<__m256i*>(buffer), bytes);
  store(p, buffer, n);
}

using S = __m256i;
S narrow(V a, V b) { return _mm256_packs_epi32(a, b); }
// Packing leaves four values of each of two vectors in each 128 bits.
S in_order(S packed) { return _mm256_permute4x64_epi64(packed, 0xD8); }
S spread_s(int32_t v) { return _mm256_set1_epi16(static_cast<short>(v)); }
S add_s(S a, S b) { return _mm256_add_epi16(a, b); }
S mul_s(S a, S b) { return _mm256_mullo_epi16(a, b); }
S xor_s(S a, S b) { return _mm256_xor_si256(a, b); }
S shift_left_s(S a, int count) { return _mm256_slli_epi16(a, count); }
S count_ge_s(S level, S a, S cut) {
  return _mm256_add_epi16(_mm256_sub_epi16(level, _mm256_set1_epi16(-1)), _mm256_cmpgt_epi16(cut, a));
}

template <bool kInOrder>
void store_levels(uint8_t* p, const S (&level)[2], int64_t n, const uint8_t* codes) {
  const __m256i packed = _mm256_packus_epi16(level[0], level[1]);
  if constexpr (kInOrder) return store_first(p, in_order(packed), n, codes);
  // Each 128 bits hold four codes of each of four vectors.
  store_first(p, _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)), n, codes);
}
template <bool kInOrder>
void store_either(uint8_t* p, const S (&a)[2], const S (&cut)[2], int64_t n, const uint8_t* codes) {
  const S zero = _mm256_setzero_si256();
  const S level[2] = {count_ge_s(zero, a[0], cut[0]), count_ge_s(zero, a[1], cut[1])};
  store_levels<kInOrder>(p, level, n, codes);
}

template <int NV>
void store_codes(uint8_t* p, V (&v)[NV], int64_t n, const uint8_t* codes) {
  const V zero = _mm256_setzero_si256();
  const S halves[2] = {narrow(v[0], NV > 1 ? v[NV > 1 ? 1 : 0] : zero),
                       narrow(NV > 2 ? v[NV > 2 ? 2 : 0] : zero, NV > 3 ? v[NV > 3 ? 3 : 0] : zero)};
  const V packed = _mm256_packus_epi16(halves[0], halves[1]);
  store_first(p, _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)), n, codes);
}

#include "quant/kernels/bit_gemm/epilogue.inc"

using C = __m256i;
constexpr int64_t kCounts = 31;  // of at most 8 bits a byte
constexpr int kPixels = 2, kVectors = 4;
W load_w(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
W spread_x(const uint8_t* p) { return _mm256_set1_epi32(word<int32_t>(p)); }
C no_count() { return _mm256_setzero_si256(); }
C count(C c, W x, W w) {
  const __m256i bits = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m256i nibble = _mm256_set1_epi8(15), both = _mm256_and_si256(x, w);
  const __m256i low_bits = _mm256_shuffle_epi8(bits, _mm256_and_si256(both, nibble));
  const __m256i high_bits = _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble));
  return _mm256_add_epi8(c, _mm256_add_epi8(low_bits, high_bits));
}
V total(C c) { return _mm256_madd_epi16(_mm256_maddubs_epi16(c, _mm256_set1_epi8(1)), _mm256_set1_epi16(1)); }

__m256i load_codes(const uint8_t* x, int64_t n) {
  if (n >= 32) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  alignas(32) uint8_t buffer[32] = {};
  store(buffer, x, n);
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(buffer));
}

void pack(const Pixels& p) {
  for (int64_t i = 0; i < p.pixels; ++i) {
    const uint8_t* x = p.x + i * p.x_pitch;
    uint8_t* to = p.to + i * p.to_pitch;
    if (p.sums)
      for (int j = 0; j < p.a_bits; ++j) p.sums[j * p.sum_plane + i] = 0;
    for (int64_t c = 0; c < p.channels; c += 32) {
      const __m256i codes = load_codes(x + c, p.channels - c);
      for (int j = 0; j < p.a_bits; ++j) {
        const int bits = _mm256_movemask_epi8(_mm256_slli_epi16(codes, 7 - j));
        __builtin_memcpy(to + j * p.to_plane + c / 8, &bits, 4);
        if (p.sums) p.sums[j * p.sum_plane + i] += __builtin_popcount(static_cast<unsigned>(bits));
      }
    }
  }
}

#include "quant/kernels/bit_gemm/planes.inc"

using T = __m256i;
constexpr int kGroup = 4;
constexpr int kTablePixels = 2;
B no_bytes() { return _mm256_setzero_si256(); }
B load_b(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
S pairs(B b) { return b; }
S odd(B b) { return _mm256_srli_epi16(b, 8); }
S less_odd(S p, S o) { return _mm256_sub_epi16(p, _mm256_slli_epi16(o, 8)); }
V low(S h) { return _mm256_cvtepu16_epi32(_mm256_castsi256_si128(h)); }
V high(S h) { return _mm256_cvtepu16_epi32(_mm256_extracti128_si256(h, 1)); }
T load_table(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
B look_up(B sum, T table, B index) { return _mm256_add_epi8(sum, _mm256_shuffle_epi8(table, index)); }

/// Byte s of each 16 takes code b of its four if s has bit b, else 0.
__m256i subset(__m256i codes, int b) {
  const __m128i all = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m128i bit = _mm_set1_epi8(static_cast<char>(1 << b));
  const __m128i lacks = _mm_cmpeq_epi8(_mm_and_si128(all, bit), _mm_setzero_si128());
  const __m256i quad = _mm256_setr_epi64x(0, 0, 0x0404040404040404, 0x0404040404040404);
  const __m256i index = _mm256_add_epi8(quad, _mm256_set1_epi8(static_cast<char>(b)));
  return _mm256_shuffle_epi8(codes, _mm256_or_si256(index, _mm256_broadcastsi128_si256(lacks)));
}

void tabulate(const Pixels& p) {
  const __m256i mask = _mm256_set1_epi8(static_cast<char>((1 << p.a_bits) - 1));
  for (int64_t i = 0; i < p.pixels; ++i) {
    const uint8_t* x = p.x + i * p.x_pitch;
    uint8_t* to = p.to + i * p.to_pitch;
    int32_t sum = 0;
    for (int64_t c = 0; c < p.channels; c += 32) {
      alignas(32) uint8_t read[32];
      _mm256_store_si256(reinterpret_cast<__m256i*>(read), _mm256_and_si256(load_codes(x + c, p.channels - c), mask));
      const int64_t count = (least(p.channels - c, 32) + 3) / 4;
      for (int64_t t = 0; t < count; t += 2) {
        const __m256i codes = _mm256_set1_epi64x(word<int64_t>(read + 4 * t));
        const __m256i table = _mm256_add_epi8(_mm256_add_epi8(subset(codes, 0), subset(codes, 1)),
                                              _mm256_add_epi8(subset(codes, 2), subset(codes, 3)));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(table));
        sum += to[15];
        to += 16;
        if (t + 1 == count) break;
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_extracti128_si256(table, 1));
        sum += to[15];
        to += 16;
      }
    }
    if (p.sums) p.sums[i] = sum;
  }
}

constexpr int kRegisters = 16;
constexpr bool kPopcount = false;

#include "quant/kernels/bit_gemm/tables.inc"

}  // namespace

const Kernels& gemm_avx2();
const Kernels& gemm_avx2() { return kTable; }

}  // namespace nibble::bits
