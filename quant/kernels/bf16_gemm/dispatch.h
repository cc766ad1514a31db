#pragma once

#include <span>

#include "core/cpu.h"
#include "quant/kernels/bf16_gemm/bf16_gemm.h"

namespace nibble::bf16 {

/// Best first; the last one runs everywhere, but is no faster than a convolution in f32.
std::span<const Variant<const Kernels&()>> gemm_variants();
/// The variant that this process uses; null if that is the last one.
const Kernels* fast_kernels();

}  // namespace nibble::bf16
