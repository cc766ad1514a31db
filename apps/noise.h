#pragma once

#include "core/rng.h"
#include "core/tensor.h"

namespace nibble {

/// `count` draws of standard normal noise in the place of images: (count, extents of `sample`). Good for measuring
/// speed, and for exercising a network where there are no images; nobody's accuracy.
Tensor noise_images(const Shape& sample, int64_t count, Rng& rng);

}  // namespace nibble
