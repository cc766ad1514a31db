#pragma once

#include <memory>
#include <vector>

#include "core/config.h"
#include "core/registry.h"
#include "core/rng.h"
#include "data/image.h"

namespace nibble {

/// One step of preparing an image, before it is normalised. Registered under its "type"; const and thread-safe.
class Transform {
 public:
  virtual ~Transform() = default;
  /// `rng` belongs to this step of this sample in this epoch. Throws Error if the image is too small.
  virtual Image apply(Image image, Rng& rng) const = 0;
  /// True if apply() draws from the generator.
  virtual bool random() const { return false; }
};

#define NIBBLE_REGISTER_TRANSFORM(Derived, name, doc) NIBBLE_REGISTER(::nibble::Transform, Derived, name, doc)

/// Transforms in order, from a list of names and objects: ["pad_crop", {"type": "resize", "size": 256}].
class Pipeline {
 public:
  /// Throws UsageError naming the pointer of a bad entry. A null config is the empty list.
  explicit Pipeline(const Config& list);
  /// Every step draws from its own child of `rng`, so the steps do not disturb one another.
  Image apply(Image image, const Rng& rng) const;
  bool random() const;

 private:
  std::vector<std::shared_ptr<const Transform>> steps_;
};

/// The rectangle of `image` at (top, left). Throws unless it lies inside.
Image crop(const Image& image, int top, int left, int height, int width);
/// The rectangle in the middle; offsets of half a pixel are rounded to even, as torchvision does.
Image center_crop(const Image& image, int height, int width);

}  // namespace nibble
