#pragma once

#include <functional>

#include "core/ops.h"

namespace nibble {

/// max_pool() of images whose rows come to be in order: a band of them is pooled while it is still in the cache. The
/// results are the same, and nothing records.
class BandedMaxPool {
 public:
  /// Of images (N, H, W, C). Throws Error unless the window fits.
  BandedMaxPool(const Shape& images, const PoolGeometry& geometry);

  /// (N, OH, OW, C)
  const Shape& output_shape() const { return out_; }
  /// Writes rows [first, first + count) of an image, (count, W, C); called in the order of the rows.
  using Rows = std::function<void(int64_t image, int64_t first, int64_t count, float* to)>;
  void run(const Rows& rows, const Tensor& y) const;

 private:
  Shape images_, out_;
  PoolGeometry geometry_;
};

}  // namespace nibble
