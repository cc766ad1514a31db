#pragma once

#include <array>

#include "data/dataset.h"

namespace nibble {

/// (pixel / 255 - mean) / std in f32, by table.
class Normalise {
 public:
  explicit Normalise(const DataOptions& options) {
    options.check();
    for (size_t c = 0; c < 3; ++c)
      for (size_t v = 0; v < 256; ++v)
        table_[c][v] =
            (static_cast<float>(v) / 255.f - static_cast<float>(options.mean[c])) / static_cast<float>(options.std[c]);
  }
  /// `out` holds as many values as the image.
  void operator()(const Image& image, float* out) const {
    for (size_t i = 0; i < image.pixels.size(); i += 3)
      for (size_t c = 0; c < 3; ++c) out[i + c] = table_[c][image.pixels[i + c]];
  }

 private:
  std::array<std::array<float, 256>, 3> table_;
};

}  // namespace nibble
