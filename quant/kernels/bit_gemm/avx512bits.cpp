#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/bit_gemm/bit_gemm.h"

namespace nibble::bits {
namespace {

#include "quant/kernels/bit_gemm/zmm.inc"

#include "quant/kernels/bit_gemm/epilogue.inc"

// The lowest bit of each count as it changes, and how often it went from 1 to 0. Adding the bits of a word to that one
// takes an operation, and so does finding what two words together carry, as no more than one can: 5 operations for two
// words with popcount and addition, where counting each takes 6. Processors that count on every other port only, and
// those that count on all, gain alike.
struct C {
  V odd, carries;
};
constexpr int64_t kCounts = 0;
constexpr int kPixels = 4, kVectors = 2;  // 16 registers of counts, 4 of weights, the bits of a pixel
C no_count() { return {_mm512_setzero_si512(), _mm512_setzero_si512()}; }
constexpr int kXorOfAnd = 0x78;       // a ^ (b & c)
constexpr int kAllThree = 0x80;       // a & b & c
constexpr int kFallsOnTheWay = 0x74;  // (a & ~b) | (b & ~c)
V carry(V carries, V bits) { return _mm512_add_epi32(carries, _mm512_popcnt_epi32(bits)); }
C count(C c, W x, W w) {
  return {_mm512_ternarylogic_epi32(c.odd, x, w, kXorOfAnd),
          carry(c.carries, _mm512_ternarylogic_epi32(c.odd, x, w, kAllThree))};
}
#define NIBBLE_PAIRS
C count_pair(C c, W x, W w, W y, W v) {
  const V one = _mm512_ternarylogic_epi32(c.odd, x, w, kXorOfAnd),
          two = _mm512_ternarylogic_epi32(one, y, v, kXorOfAnd);
  return {two, carry(c.carries, _mm512_ternarylogic_epi32(c.odd, one, two, kFallsOnTheWay))};
}
V total(C c) { return carry(_mm512_slli_epi32(c.carries, 1), c.odd); }

#include "quant/kernels/bit_gemm/planes.inc"

using T = __m512i;
constexpr int kGroup = 6;
constexpr int kTablePixels = 6;  // up to 24 sums, 4 vectors of indices, a table
T load_table(const uint8_t* p) { return _mm512_loadu_si512(p); }
B look_up(B sum, T table, B index) { return _mm512_add_epi8(sum, _mm512_permutexvar_epi8(index, table)); }

/// For each of 8 groups of three codes, of 24, the sums of all 8 subsets.
B half_tables(__m512i codes) {
  constexpr uint64_t kHas0 = 0xAAAAAAAAAAAAAAAA, kHas1 = 0xCCCCCCCCCCCCCCCC, kHas2 = 0xF0F0F0F0F0F0F0F0;
  const __m512i first =
      _mm512_setr_epi64(0x0000000000000000, 0x0303030303030303, 0x0606060606060606, 0x0909090909090909,
                        0x0C0C0C0C0C0C0C0C, 0x0F0F0F0F0F0F0F0F, 0x1212121212121212, 0x1515151515151515);
  const __m512i second = _mm512_add_epi8(first, _mm512_set1_epi8(1)),
                third = _mm512_add_epi8(first, _mm512_set1_epi8(2));
  return _mm512_add_epi8(_mm512_add_epi8(_mm512_maskz_permutexvar_epi8(kHas0, first, codes),
                                         _mm512_maskz_permutexvar_epi8(kHas1, second, codes)),
                         _mm512_maskz_permutexvar_epi8(kHas2, third, codes));
}

void tabulate(const Pixels& p) {
  const __m512i mask = _mm512_set1_epi8(static_cast<char>((1 << p.a_bits) - 1));
  // Byte e of a half table for every subset of the other half.
  const __m512i rows =
      _mm512_setr_epi64(0x0000000000000000, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303,
                        0x0404040404040404, 0x0505050505050505, 0x0606060606060606, 0x0707070707070707);
  for (int64_t i = 0; i < p.pixels; ++i) {
    const uint8_t* x = p.x + i * p.x_pitch;
    uint8_t* to = p.to + i * p.to_pitch;
    __m512i sum = _mm512_setzero_si512();
    for (int64_t c = 0; c < p.channels; c += 24) {
      const __mmask64 there = first_bytes(least(p.channels - c, 24));
      const __m512i codes = _mm512_and_si512(_mm512_maskz_loadu_epi8(there, x + c), mask);
      sum = _mm512_add_epi64(sum, _mm512_sad_epu8(codes, _mm512_setzero_si512()));
      // Through memory: loads spread values for nothing, shuffles do not.
      alignas(64) int64_t half[8];
      _mm512_store_si512(half, half_tables(codes));
      __asm__ volatile("" : "+m"(half));
      for (int64_t t = 0; t < 8 && c + 3 * t < p.channels; t += 2, to += 64) {
        const __m512i high_half = _mm512_shuffle_epi8(_mm512_set1_epi64(half[t + 1]), rows);
        _mm512_storeu_si512(to, _mm512_add_epi8(_mm512_set1_epi64(half[t]), high_half));
      }
    }
    if (p.sums) p.sums[i] = static_cast<int32_t>(_mm512_reduce_add_epi64(sum));
  }
}

constexpr int kRegisters = 32;
constexpr bool kPopcount = true;

#include "quant/kernels/bit_gemm/tables.inc"

}  // namespace

const Kernels& gemm_avx512bits();
const Kernels& gemm_avx512bits() { return kTable; }

}  // namespace nibble::bits
