#pragma once

#include <span>

#include "quant/kernels/int8_conv/plan.h"

namespace nibble::int8::detail {

/// A plan for images of one size: where kernels read, and how much is worked on at a time.
struct Frame {
  /// For up to `batch` images. Throws Error if the window does not fit.
  Frame(const Int8ConvPlan& plan, int64_t h, int64_t w, int64_t batch);

  const Int8ConvPlan* plan;
  int64_t h, w, oh, ow;
  int64_t output_bytes;
  int64_t row_bytes, col_bytes;  ///< from pixel to pixel of what the kernels read, without strides
  int64_t segs, steps;           ///< as in Correlate; taps for a depthwise convolution, an even number of them
  int64_t cols_read;             ///< columns of the copy, from the left border on
  int64_t block_rows;            ///< output rows that are worked on at a time: all of `block_images` images, or some
  int64_t block_images;
  int64_t copy_at, sums_at, window_sums_at;    ///< parts of the scratch
  int64_t inputs_at, weights_at, products_at;  ///< those of Winograd's transforms
  int64_t scratch_bytes;

  /// Enough for the frames of any matrix product with kernels->pixels or fewer columns.
  static int64_t pointwise_scratch_bytes(const Int8ConvPlan& plan);

  int64_t rows_read(int64_t rows) const;   ///< input rows that so many output rows read
  int64_t copy_bytes(int64_t rows) const;  ///< of the copy that so many output rows of an image read
  int64_t tile_cols() const { return (ow + 1) / 2; }
  int64_t product_tiles() const;  ///< Winograd::m_tiles
  /// Values from one position to the next of a block's transformed inputs, and their bytes, where so many output rows
  /// are worked on at a time; 0 without Winograd's transform.
  int64_t input_position(int64_t rows) const;
  int64_t input_bytes(int64_t rows) const { return 16 * 2 * input_position(rows); }

  void fill_segments(std::span<int64_t> seg) const;
  /// Rows [from, from + rows) of one group of an image, borders and all, in the operand's form.
  void copy_rows(const uint8_t* image, int64_t group, int64_t from, int64_t rows, uint8_t* to) const;
  /// to[row][col] = sum over the group's channels of (x - x_zero), for the same rows and columns.
  void sum_pixels(const uint8_t* image, int64_t group, int64_t from, int64_t rows, int32_t* to) const;
  /// to[row][col] = sum of those over the window of an output pixel, times sum_factor. `columns` holds cols_read sums.
  void sum_windows(const int32_t* pixels, int64_t rows, int32_t* columns, int32_t* to) const;
};

}  // namespace nibble::int8::detail
