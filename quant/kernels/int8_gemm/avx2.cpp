#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/int8_gemm/int8_gemm.h"

namespace nibble::int8 {
namespace {

#include "quant/kernels/int8_gemm/ymm.inc"

constexpr Operand kOperand = Operand::s16_s16;
// Sums of pairs of products of 16 bits are exact; a multiply-add of bytes would saturate, but for runs.
A dot(A a, X x, W w) { return add(a, _mm256_madd_epi16(x, w)); }

#define NIBBLE_RUNS
constexpr int kRunPixels = 6;
V byte_dot(X x, W w) { return _mm256_maddubs_epi16(x, w); }
void add_short(V& a, V b) { __asm__ volatile("vpaddw %1, %0, %0" : "+x"(a) : "x"(b)); }
V widen(V a) { return _mm256_madd_epi16(a, _mm256_set1_epi16(1)); }

#define NIBBLE_WINOGRAD
constexpr int kWinogradTiles = 6;
V load_codes_16(const uint8_t* p) { return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
V load_weights_16(const int8_t* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
void store_16(int16_t* p, V v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
V add_16(V a, V b) { return _mm256_add_epi16(a, b); }
V sub_16(V a, V b) { return _mm256_sub_epi16(a, b); }
V shift_right(V v, int count) { return _mm256_srai_epi32(v, count); }

#include "quant/kernels/int8_gemm/tile.inc"

}  // namespace

const Kernels& gemm_avx2();
const Kernels& gemm_avx2() { return kTable; }

}  // namespace nibble::int8
