#pragma once

#include <algorithm>

#include "core/ops/map.h"

namespace nibble {

/// A tensor (...,C) as rows of C channels, cut into blocks of rows that stay in the cache between two passes. The cut
/// depends on the shape only, so sums over blocks do not depend on the number of threads.
struct RowBlocks {
  explicit RowBlocks(const Shape& shape)
      : channels(shape[shape.rank() - 1]),
        rows(channels > 0 ? shape.numel() / channels : 0),
        height(std::max(kFewestRows, kElements / std::max<int64_t>(1, channels))) {}

  int64_t count() const { return (rows + height - 1) / height; }
  int64_t rows_in(int64_t block) const { return std::min(height, rows - block * height); }
  /// Elements of all blocks but the last.
  int64_t elements() const { return height * channels; }

  /// body(block, offset of its first element, its rows), from several threads.
  template <class Body>
  void each(const Body& body) const {
    each(0, count(), body);
  }
  /// The same for blocks [first, end) alone.
  template <class Body>
  void each(int64_t first, int64_t end, const Body& body) const {
    parallel_for(first, end, std::max<int64_t>(1, kElementGrain / elements()), [&](int64_t lo, int64_t hi) {
      for (int64_t block = lo; block < hi; ++block) body(block, block * elements(), rows_in(block));
    });
  }

  int64_t channels, rows, height;

 private:
  static constexpr int64_t kElements = 8192, kFewestRows = 64;
};

}  // namespace nibble
