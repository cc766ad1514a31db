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

constexpr Kernels with_tiles() {
  Kernels kernels = kTable;
  kernels.thread_work = 1 << 21;
  return kernels;
}
constexpr Kernels kAmxTable = with_tiles();

}  // namespace

const Kernels& gemm_amx();
const Kernels& gemm_amx() { return kAmxTable; }

}  // namespace nibble::int8
