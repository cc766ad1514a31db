#include "layers/models/image_shape.h"

#include "core/error.h"

namespace nibble {

Shape image_shape(const std::vector<int>& extents) {
  const bool positive = extents.size() == 3 && extents[0] > 0 && extents[1] > 0 && extents[2] > 0;
  NIBBLE_CHECK(positive, "input: expected [height, width, channels], got ", extents.size(), " extents");
  const Shape shape{extents[0], extents[1], extents[2]};
  constexpr int64_t kLargest = int64_t{1} << 24;
  NIBBLE_CHECK(shape.numel() <= kLargest, "input: an image ", shape, " holds ", shape.numel(),
               " values, more than the ", kLargest, " that are accepted");
  return shape;
}

}  // namespace nibble
