#pragma once

#include <cstdint>

/// The inner loops of convolutions of bf16 values with f32 sums, for one image. They are single-threaded and allocate
/// nothing. Variants differ in the order of the sums.
namespace nibble::bf16 {

/// Output channels of a panel of weights.
inline constexpr int64_t kPanel = 16;

/// y[row, col, j] = factor[j] * base[row, col, j] + offset[j]
///                  + sum over segments s and i in [0, 2 pairs) of x[row, col, seg[s] / 2 + i] * w[2 s pairs + i][j]
struct Correlate {
  const uint16_t* x;  ///< pixel (row, col) starts at row * x_row + col * x_col
  int64_t x_row, x_col;
  const int64_t* seg;  ///< bytes from the pixel on to where each segment starts
  int64_t segs, pairs;
  const uint16_t* w;    ///< [segs * pairs][kPanel][2]
  const float* base;    ///< with y's rows and columns
  const float* factor;  ///< null for 1
  const float* offset;  ///< null for 0
  float* y;             ///< may be base
  int64_t y_row, y_col;
  int64_t rows, cols;
  int64_t n;  ///< output channels, 1..kPanel
};

struct Kernels {
  /// The nearest bf16, ties to even; of NaN, a NaN.
  void (*round)(const float* x, int64_t n, uint16_t* to);
  void (*correlate)(const Correlate&);
};

}  // namespace nibble::bf16
