#pragma once

#include <span>

#include "core/cpu.h"
#include "core/kernels/elementwise/elementwise.h"

namespace nibble::elementwise {

/// Best first; the last one runs everywhere.
std::span<const Variant<const Kernels&()>> variants();
/// The variant that this process uses.
const Kernels& kernels();

}  // namespace nibble::elementwise
