#pragma once

#include <cstdint>

/// Inner loops of the memory-bound passes. They are single-threaded, allocate nothing and need no alignment; an output
/// may be one of the inputs but must not overlap it otherwise. Arrays called [rows][channels] are dense, coefficient
/// arrays hold one value per channel. Variants differ in speed only: every operation is rounded on its own and sums
/// run over even and odd rows separately, whatever the width of a vector.
namespace nibble::elementwise {

/// Equally spaced levels: code i stands for offset + scale * (lo + i). `hi - lo` is at most 255, both within +-2^22.
struct Levels {
  float scale = 1, offset = 0, lo = 0, hi = 255;
  bool up = false;  ///< ties go up, else to the even multiple of the scale
};

struct Kernels {
  /// y = x < 0 ? 0 : x, so that NaN stays NaN
  void (*relu)(const float* x, float* y, int64_t n);
  /// dx = y > 0 ? dy : 0
  void (*relu_backward)(const float* y, const float* dy, float* dx, int64_t n);
  /// y = a + b
  void (*add)(const float* a, const float* b, float* y, int64_t n);
  /// Two passes: center = sum(x) / rows in f32, then residual = sum(x - center) and square = sum((x - center)^2), which
  /// together give mean and variance without cancellation.
  void (*moments)(const float* x, int64_t rows, int64_t channels, float* center, float* residual, float* square);
  /// y = a * x + b
  void (*affine)(const float* x, int64_t rows, int64_t channels, const float* a, const float* b, float* y);
  /// total = sum(dy), product = sum(dy * (x - mean))
  void (*products)(const float* x, const float* dy, int64_t rows, int64_t channels, const float* mean, float* total,
                   float* product);
  /// dx = a * dy - (b + c * (x - mean))
  void (*correct)(const float* x, const float* dy, int64_t rows, int64_t channels, const float* mean, const float* a,
                  const float* b, const float* c, float* dx);
  /// Whether all |x| <= most, and none is NaN.
  bool (*within)(const float* x, float most, int64_t n);
  /// codes = round(min(max((x - offset) / scale, lo), hi)) - lo; 0 for NaN.
  void (*encode)(const float* x, const Levels& levels, uint8_t* codes, int64_t n);
  /// ranks[i] = number of the `count` thresholds that are below x[i]; count <= 255.
  void (*count_below)(const float* x, const float* thresholds, int64_t count, uint8_t* ranks, int64_t n);
};

}  // namespace nibble::elementwise
