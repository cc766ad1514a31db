#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/bit_gemm/bit_gemm.h"

namespace nibble::bits {
namespace {

#include "quant/kernels/bit_gemm/zmm_bits.inc"

}  // namespace

const Kernels& gemm_avx512bits();
const Kernels& gemm_avx512bits() { return kTable; }

}  // namespace nibble::bits
