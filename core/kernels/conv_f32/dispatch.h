#pragma once

#include <span>

#include "core/cpu.h"
#include "core/kernels/conv_f32/conv_f32.h"

namespace nibble::conv_f32 {

/// Best first; the last one runs everywhere.
std::span<const Variant<const Kernels&()>> variants();
/// The variant that this process uses.
const Kernels& kernels();

}  // namespace nibble::conv_f32
