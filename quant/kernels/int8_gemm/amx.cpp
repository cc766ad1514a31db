#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/int8_gemm/int8_gemm.h"
#include "quant/kernels/quads.h"

namespace nibble::int8 {
namespace {

#include "quant/kernels/amx.inc"
#include "quant/kernels/int8_gemm/zmm.inc"

#define NIBBLE_AMX
#include "quant/kernels/int8_gemm/tile.inc"

}  // namespace

const Kernels& gemm_amx();
const Kernels& gemm_amx() { return kTable; }

}  // namespace nibble::int8
