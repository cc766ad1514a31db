#pragma once

#include <span>
#include <string_view>

#include "core/cpu.h"
#include "quant/kernels/bit_gemm/bit_gemm.h"

namespace nibble::bits {

/// Best first; the last one runs everywhere.
std::span<const Variant<const Kernels&()>> gemm_variants();
/// The variant that this process uses, or the row named `isa`; throws Error if that is unknown or does not run here.
const Variant<const Kernels&()>& gemm_variant(std::string_view isa = {});

}  // namespace nibble::bits
