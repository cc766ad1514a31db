#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/int8_gemm/int8_gemm.h"

namespace nibble::int8 {
namespace {

#include "quant/kernels/int8_gemm/ymm.inc"

constexpr Operand kOperand = Operand::u8_s8;

A dot(A a, X x, W w) { return _mm256_dpbusd_avx_epi32(a, x, w); }

#include "quant/kernels/int8_gemm/tile.inc"

}  // namespace

const Kernels& gemm_avxvnni();
const Kernels& gemm_avxvnni() { return kTable; }

}  // namespace nibble::int8
