#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/int8_gemm/int8_gemm.h"

namespace nibble::int8 {
namespace {

#include "quant/kernels/int8_gemm/zmm.inc"

#include "quant/kernels/int8_gemm/tile.inc"

}  // namespace

const Kernels& gemm_avx512vnni();
const Kernels& gemm_avx512vnni() { return kTable; }

}  // namespace nibble::int8
