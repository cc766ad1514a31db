#pragma once

#include "core/kernels/conv_f32/driver.h"
#include "core/tensor.h"

namespace nibble {

/// The shape of conv2d(x, w, bias, geometry); `bias` may be undefined. Throws Error unless they fit each other.
conv_f32::ConvShape conv_shape(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvGeometry& geometry);

}  // namespace nibble
