#pragma once

#include <string_view>

#include "core/tensor.h"

namespace nibble {

/// Throws Error naming `who` and the first element that is NaN or infinite.
void check_finite(std::string_view who, const Tensor& x);

}  // namespace nibble
