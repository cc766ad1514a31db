#pragma once

#include <cstdint>

/// The inner loops of the f32 convolution, for one image (or a few) and one group. They are single-threaded, allocate
/// nothing and need no alignment; outputs must not alias inputs. Every output is one chain of multiply-adds in the
/// order of the contract, whatever the tiling, so a result does not depend on how the work is cut. Variants differ in
/// the rounding of a multiply-add only (fused, except in `scalar`).
namespace nibble::conv_f32 {

/// y[row, col, j] = bias[j] + sum over segments s and i in [0, run) of x[row, col, seg[s] + i] * w[s * run + i][j]
struct Correlate {
  const float* x;  ///< first pixel; pixel (row, col) starts at row * x_row + col * x_col
  int64_t x_row, x_col;
  const int64_t* seg;  ///< where each segment starts, relative to the pixel
  int64_t segs, run;   ///< 0 segments give the bias
  const float* w;      ///< [segs * run][n rounded up to lanes]
  const float* bias;   ///< n values or null
  float* y;
  int64_t y_row, y_col;
  int64_t rows, cols;
  int64_t n;  ///< output channels, 1..block
};

/// c[i][j] = sum over images, rows and columns of a[pixel, i] * b[pixel, j], i < m, j < n; with `add` the finished sum
/// is added to c.
struct Outer {
  const float* a;
  int64_t a_image, a_row, a_col, m;
  const float* b;
  int64_t b_image, b_row, b_col, n;
  int64_t images, rows, cols;
  float* c;
  int64_t ldc;
  bool add;
};

/// Correlate for one channel at a time: y[row, col, c] = bias[c] + sum_t x[row, col, seg[t] + c] * w[t][c], c < n
struct Depthwise {
  const float* x;
  int64_t x_row, x_col;
  const int64_t* seg;
  int64_t taps;
  const float* w;     ///< [taps][n]
  const float* bias;  ///< n values or null
  float* y;
  int64_t y_row, y_col;
  int64_t rows, cols, n;
};

/// dw[t][c] = sum over images, rows and columns of x[pixel, seg[t] + c] * dy[pixel, c], c < n; with `add` the finished
/// sum is added to dw.
struct DepthwiseOuter {
  const float* x;
  int64_t x_image, x_row, x_col;
  const int64_t* seg;
  int64_t taps;
  const float* dy;
  int64_t dy_image, dy_row, dy_col;
  int64_t images, rows, cols, n;
  float* dw;  ///< [taps][n]
  bool add;
};

/// A tile of Winograd's F(4x4, 3x3): pixel (i, j) of the source is at from + i * from_row + j * from_col, that of the
/// result likewise, of which the first `rows` x `cols` are written.
struct WinogradTile {
  const float* from;
  int64_t from_row, from_col;
  float* to;
  int64_t to_row, to_col;
  int64_t rows, cols;
  int64_t channels;
};

struct Kernels {
  int64_t lanes;  ///< panels of packed weights are a multiple of this wide
  int64_t block;  ///< and at most this
  void (*correlate)(const Correlate&);
  void (*outer)(const Outer&);
  void (*depthwise)(const Depthwise&);
  void (*depthwise_outer)(const DepthwiseOuter&);
  void (*winograd_input)(const WinogradTile&);     ///< B^T d B: 6x6 to 6x6
  void (*winograd_gradient)(const WinogradTile&);  ///< A g A^T: 4x4 to 6x6
  void (*winograd_output)(const WinogradTile&);    ///< A^T m A: 6x6 to 4x4
};

}  // namespace nibble::conv_f32
