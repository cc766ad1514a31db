#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/bit_gemm/bit_gemm.h"

namespace nibble::bits {
namespace {

#include "quant/kernels/bit_gemm/zmm.inc"

#include "quant/kernels/bit_gemm/epilogue.inc"

using C = __m512i;
constexpr int64_t kCounts = 31;  // of at most 8 bits a byte
constexpr int kPixels = 4, kVectors = 4;
C no_count() { return _mm512_setzero_si512(); }
C count(C c, W x, W w) {
  const __m512i bits = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m512i nibble = _mm512_set1_epi8(15), both = _mm512_and_si512(x, w);
  const __m512i low_bits = _mm512_shuffle_epi8(bits, _mm512_and_si512(both, nibble));
  const __m512i high_bits = _mm512_shuffle_epi8(bits, _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble));
  return _mm512_add_epi8(c, _mm512_add_epi8(low_bits, high_bits));
}
V total(C c) { return _mm512_madd_epi16(_mm512_maddubs_epi16(c, _mm512_set1_epi8(1)), _mm512_set1_epi16(1)); }

#include "quant/kernels/bit_gemm/planes.inc"

using T = __m512i;
constexpr int kGroup = 4;
constexpr int kTablePixels = 6;
T load_table(const uint8_t* p) { return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
B look_up(B sum, T table, B index) { return _mm512_add_epi8(sum, _mm512_shuffle_epi8(table, index)); }

/// Byte s of each 16 takes code b of its four if s has bit b, else 0.
__m512i subset(__m512i codes, int b) {
  const __m512i quad = _mm512_setr_epi64(0, 0, 0x0404040404040404, 0x0404040404040404, 0x0808080808080808,
                                         0x0808080808080808, 0x0C0C0C0C0C0C0C0C, 0x0C0C0C0C0C0C0C0C);
  constexpr uint64_t kHas[4] = {0xAAAAAAAAAAAAAAAA, 0xCCCCCCCCCCCCCCCC, 0xF0F0F0F0F0F0F0F0, 0xFF00FF00FF00FF00};
  return _mm512_maskz_shuffle_epi8(kHas[b], codes, _mm512_add_epi8(quad, _mm512_set1_epi8(static_cast<char>(b))));
}

void tabulate(const Pixels& p) {
  const __m128i mask = _mm_set1_epi8(static_cast<char>((1 << p.a_bits) - 1));
  for (int64_t i = 0; i < p.pixels; ++i) {
    const uint8_t* x = p.x + i * p.x_pitch;
    uint8_t* to = p.to + i * p.to_pitch;
    int32_t sum = 0;
    for (int64_t c = 0; c < p.channels; c += 16) {
      const int64_t left = least(p.channels - c, 16), count = (left + 3) / 4;
      const __m128i read = _mm_maskz_loadu_epi8(first(left), x + c);
      const __m512i codes = _mm512_broadcast_i32x4(_mm_and_si128(read, mask));
      const __m512i table = _mm512_add_epi8(_mm512_add_epi8(subset(codes, 0), subset(codes, 1)),
                                            _mm512_add_epi8(subset(codes, 2), subset(codes, 3)));
      _mm512_mask_storeu_epi8(to, first_bytes(count * 16), table);
      for (int64_t t = 0; t < count; ++t, to += 16) sum += to[15];
    }
    if (p.sums) p.sums[i] = sum;
  }
}

constexpr int kRegisters = 32;
constexpr bool kPopcount = false;

#include "quant/kernels/bit_gemm/tables.inc"

}  // namespace

const Kernels& gemm_avx512();
const Kernels& gemm_avx512() { return kTable; }

}  // namespace nibble::bits
