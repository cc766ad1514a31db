#pragma once

#include "data/image.h"

namespace nibble {

/// Bilinear with antialiasing: a triangle filter as wide as one output pixel covers in the input, separable, rounded to
/// 8 bits after each direction (rows first). Agrees with Pillow's BILINEAR.
Image resize(const Image& image, int height, int width);
/// The shorter side becomes `size`, the longer one follows, rounded down.
Image resize_shorter(const Image& image, int size);

}  // namespace nibble
