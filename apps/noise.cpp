#include "apps/noise.h"

#include <vector>

namespace nibble {

Tensor noise_images(const Shape& sample, int64_t count, Rng& rng) {
  std::vector<int64_t> extents = {count};
  extents.insert(extents.end(), sample.begin(), sample.end());
  Tensor x = Tensor::empty(Shape(std::span<const int64_t>(extents)));
  for (float& value : x.mutable_data<float>()) value = rng.next_normal();
  return x;
}

}  // namespace nibble
