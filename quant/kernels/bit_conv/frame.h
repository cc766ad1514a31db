#pragma once

#include <span>

#include "quant/kernels/bit_conv/plan.h"

namespace nibble::bits::detail {

/// Rows [from, from + rows) of one group of an image, borders and all; `from` may be negative.
struct Stripe {
  const uint8_t* image = nullptr;
  int64_t group = 0, from = 0, rows = 0;
};

/// A plan for images of one size: where kernels read, and how much is worked on at a time.
struct Frame {
  /// For up to `batch` images. Throws Error if the window does not fit.
  Frame(const BitConvPlan& plan, int64_t h, int64_t w, int64_t batch);

  const BitConvPlan* plan;
  int64_t h, w, oh, ow;
  int64_t cols_read;   ///< columns of the copy, from the left border on
  int64_t row_bytes;   ///< of one plane of the copy
  int64_t block_rows;  ///< output rows that are worked on at a time: all of `block_images` images, or some
  int64_t block_images;
  int64_t copy_at, pixel_sums_at, sums_at, classes_at, scratch_bytes;  ///< parts of the scratch

  int64_t rows_read(int64_t rows) const;    ///< input rows that so many output rows read
  int64_t plane_bytes(int64_t rows) const;  ///< of a plane of the copy that so many output rows of an image read
  int64_t copy_bytes(int64_t rows) const { return plan->planes * plane_bytes(rows); }

  void fill_segments(std::span<int64_t> seg) const;
  /// Packs a stripe; `sums`, if not null, gets planes of cols_read sums a row, `sum_plane` apart.
  void copy_rows(const Stripe& stripe, uint8_t* to, int64_t plane, int32_t* sums, int64_t sum_plane) const;
  /// to[row][col] = sum over the window of an output pixel. `columns` holds cols_read sums.
  void sum_windows(const int32_t* pixels, int64_t rows, int32_t* columns, int32_t* to) const;
  /// to[row][col]: where the outcome's border starts for output rows [from, from + rows).
  void fill_classes(int64_t from, int64_t rows, int32_t* to) const;
};

}  // namespace nibble::bits::detail
