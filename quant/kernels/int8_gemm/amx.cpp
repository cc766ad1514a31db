#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/int8_gemm/int8_gemm.h"
#include "quant/kernels/quads.h"

namespace nibble::int8 {

const Kernels& gemm_avx512vnni();

namespace {

using TileSum = int32_t;
#define NIBBLE_TILE_PRODUCT(sums, x, w) _tile_dpbusd(sums, x, w)
#include "quant/kernels/amx.inc"
#include "quant/kernels/int8_gemm/zmm.inc"

#include "quant/kernels/int8_gemm/outputs.inc"

#include "quant/kernels/int8_gemm/amx.inc"

void correlate(const Correlate& k) {
  if (!correlate_tiles(k)) gemm_avx512vnni().correlate(k);
}

Kernels with_tiles(Kernels kernels) {
  kernels.thread_work = 1 << 21;
  kernels.correlate = correlate;
  return kernels;
}

}  // namespace

const Kernels& gemm_amx();
const Kernels& gemm_amx() {
  static const Kernels kernels = with_tiles(gemm_avx512vnni());
  return kernels;
}

}  // namespace nibble::int8
