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

#include "quant/kernels/int8_gemm/tile.inc"

}  // namespace

const Kernels& gemm_avx2();
const Kernels& gemm_avx2() { return kTable; }

}  // namespace nibble::int8
