#include <cstdint>

#include "core/kernels/conv_f32/conv_f32.h"

namespace nibble::conv_f32 {
namespace {

constexpr int64_t kBlock = 16;

void correlate(const Correlate& k) {
  for (int64_t row = 0; row < k.rows; ++row)
    for (int64_t col = 0; col < k.cols; ++col) {
      float sum[kBlock];
      for (int64_t j = 0; j < k.n; ++j) sum[j] = k.bias ? k.bias[j] : 0;
      const float* w = k.w;
      for (int64_t s = 0; s < k.segs; ++s) {
        const float* x = k.x + row * k.x_row + col * k.x_col + k.seg[s];
        for (int64_t i = 0; i < k.run; ++i, w += k.n)
          for (int64_t j = 0; j < k.n; ++j) sum[j] += x[i] * w[j];
      }
      float* y = k.y + row * k.y_row + col * k.y_col;
      for (int64_t j = 0; j < k.n; ++j) y[j] = sum[j];
    }
}

void outer(const Outer& k) {
  for (int64_t i = 0; i < k.m; ++i)
    for (int64_t j0 = 0; j0 < k.n; j0 += kBlock) {
      const int64_t n = k.n - j0 < kBlock ? k.n - j0 : kBlock;
      float sum[kBlock] = {};
      for (int64_t image = 0; image < k.images; ++image)
        for (int64_t row = 0; row < k.rows; ++row)
          for (int64_t col = 0; col < k.cols; ++col) {
            const float a = k.a[image * k.a_image + row * k.a_row + col * k.a_col + i];
            const float* b = k.b + image * k.b_image + row * k.b_row + col * k.b_col + j0;
            for (int64_t j = 0; j < n; ++j) sum[j] += a * b[j];
          }
      float* c = k.c + i * k.ldc + j0;
      for (int64_t j = 0; j < n; ++j) c[j] = k.add ? c[j] + sum[j] : sum[j];
    }
}

void depthwise(const Depthwise& k) {
  for (int64_t row = 0; row < k.rows; ++row)
    for (int64_t col = 0; col < k.cols; ++col) {
      const float* x = k.x + row * k.x_row + col * k.x_col;
      float* y = k.y + row * k.y_row + col * k.y_col;
      for (int64_t c = 0; c < k.n; ++c) y[c] = k.bias ? k.bias[c] : 0;
      for (int64_t t = 0; t < k.taps; ++t)
        for (int64_t c = 0; c < k.n; ++c) y[c] += x[k.seg[t] + c] * k.w[t * k.n + c];
    }
}

void depthwise_outer(const DepthwiseOuter& k) {
  for (int64_t t = 0; t < k.taps; ++t)
    for (int64_t c0 = 0; c0 < k.n; c0 += kBlock) {
      const int64_t n = k.n - c0 < kBlock ? k.n - c0 : kBlock;
      float sum[kBlock] = {};
      for (int64_t image = 0; image < k.images; ++image)
        for (int64_t row = 0; row < k.rows; ++row)
          for (int64_t col = 0; col < k.cols; ++col) {
            const float* x = k.x + image * k.x_image + row * k.x_row + col * k.x_col + k.seg[t] + c0;
            const float* dy = k.dy + image * k.dy_image + row * k.dy_row + col * k.dy_col + c0;
            for (int64_t c = 0; c < n; ++c) sum[c] += x[c] * dy[c];
          }
      float* dw = k.dw + t * k.n + c0;
      for (int64_t c = 0; c < n; ++c) dw[c] = k.add ? dw[c] + sum[c] : sum[c];
    }
}

using V = float;
struct Part {};
constexpr int64_t kLanes = 1;

V load(const float* p) { return *p; }
void store(float* p, V v) { *p = v; }
V add(V a, V b) { return a + b; }
V sub(V a, V b) { return a - b; }
V value(float v) { return v; }
V fma(V a, V b, V c) { return a * b + c; }
Part part(int64_t) { return {}; }
V load_part(const float* p, Part) { return *p; }
void store_part(float* p, V v, Part) { *p = v; }

#include "core/kernels/conv_f32/winograd.inc"

constexpr Kernels kTable{1,
                         kBlock,
                         correlate,
                         outer,
                         depthwise,
                         depthwise_outer,
                         winograd_transform<InputAxis>,
                         winograd_transform<GradientAxis>,
                         winograd_transform<OutputAxis>};

}  // namespace

const Kernels& scalar();
const Kernels& scalar() { return kTable; }

}  // namespace nibble::conv_f32
