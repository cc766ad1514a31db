#pragma once

#include <span>

#include "core/cpu.h"
#include "core/kernels/peak_f32/peak_f32.h"

namespace nibble::peak_f32 {

/// Best first; the last one runs everywhere.
std::span<const Variant<Peak>> variants();
/// The best variant that this process may use.
const Variant<Peak>& variant();

}  // namespace nibble::peak_f32
