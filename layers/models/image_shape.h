#pragma once

#include <vector>

#include "core/shape.h"

namespace nibble {

/// [height, width, channels] as a Shape; throws unless there are three positive extents.
Shape image_shape(const std::vector<int>& extents);

}  // namespace nibble
