#pragma once

#include <span>
#include <string_view>

#include "core/cpu.h"
#include "core/kernels/conv_f32/conv_f32.h"

namespace nibble::conv_f32 {

/// Best first; the last one runs everywhere.
std::span<const Variant<const Kernels&()>> variants();
/// The variant that this process uses.
const Kernels& kernels();
/// "avx512", for a table of kernels that variants() has.
std::string_view name_of(const Kernels& kernels);

}  // namespace nibble::conv_f32
