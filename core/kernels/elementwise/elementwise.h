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

/// For Kernels::climb: ascending levels, the thresholds between them and, by index of a level, what is above the
/// threshold in front of it (at 0: everything).
struct Climb {
  const float *levels, *thresholds;
  int64_t levels_count;
  double* sums;
  int64_t* counts;
};

struct Kernels {
  /// y = x < 0 ? 0 : x, so that NaN stays NaN
  void (*relu)(const float* x, float* y, int64_t n);
  /// dx = y > 0 ? dy : 0
  void (*relu_backward)(const float* y, const float* dy, float* dx, int64_t n);
  /// y = a + b
  void (*add)(const float* a, const float* b, float* y, int64_t n);
  /// y[c] = the largest of x[at[i] + c] for i < count, which is at least 1; NaN beats everything.
  void (*largest)(const float* x, const int64_t* at, int64_t count, int64_t channels, float* y);
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
  /// y = a * x + b, plus r if that is not null, then 0 if below and `most` if above; NaN stays NaN.
  void (*affine_clamp)(const float* x, const float* r, int64_t rows, int64_t channels, const float* a, const float* b,
                       float most, float* y);
  /// g = 0 < y < most ? dy : 0, total = sum(g), product = sum(g * (x - mean))
  void (*clamped_products)(const float* x, const float* y, const float* dy, int64_t rows, int64_t channels,
                           const float* mean, float most, float* g, float* total, float* product);
  /// Whether all |x| <= most, and none is NaN.
  bool (*within)(const float* x, float most, int64_t n);
  /// codes = round(min(max((x - offset) / scale, lo), hi)) - lo; 0 for NaN.
  void (*encode)(const float* x, const Levels& levels, uint8_t* codes, int64_t n);
  /// y = scale * (lo + code), with the codes of encode; `levels.offset` must be 0.
  void (*snap)(const float* x, const Levels& levels, float* y, int64_t n);
  /// dx = first <= x / scale <= last ? dy : 0
  void (*window)(const float* x, const float* dy, float scale, float first, float last, float* dx, int64_t n);
  /// The same, and returns the sum of dy * (code - u where lo < u < hi, else code), u = x / scale, where code is that
  /// of encode plus lo, in f32 products; 256 elements at most are added in f32, in 16 lanes, before double takes over.
  double (*step_gradient)(const float* x, const float* dy, const Levels& levels, float first, float last, float* dx,
                          int64_t n);
  /// The smallest and the largest of x and of what `low` and `high` hold; whether all are finite.
  bool (*extremes)(const float* x, int64_t n, float* low, float* high);
  /// y = the level whose index is the number of thresholds below x, for n elements, a multiple of 16. Adds to the sums
  /// the values, and to the counts the number, of the elements above each threshold; 256 elements at most are added in
  /// f32, in 16 lanes. Returns whether all x are finite.
  bool (*climb)(const float* x, const float* values, const Climb& climb, float* y, int64_t n);
  /// ranks[i] = number of the `count` thresholds that are below x[i]; count <= 255.
  void (*count_below)(const float* x, const float* thresholds, int64_t count, uint8_t* ranks, int64_t n);
};

}  // namespace nibble::elementwise
