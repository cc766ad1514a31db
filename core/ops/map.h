#pragma once

#include <algorithm>
#include <string_view>

#include "core/parallel.h"
#include "core/tensor.h"

/// What the ops that work element by element, or channel by channel, have in common.
namespace nibble {

/// Elements that a thread should have at least: below this, waking another costs more than it saves.
inline constexpr int64_t kElementGrain = 1 << 15;

/// How many rows of `width` elements make kElementGrain.
inline int64_t row_grain(int64_t width) { return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, width)); }

inline void check_f32(std::string_view op, const Tensor& x) {
  NIBBLE_CHECK(x.defined(), op, ": the input is undefined");
  NIBBLE_CHECK(x.dtype() == DType::f32, op, ": expects f32, got ", name_of(x.dtype()), x.shape());
}

inline void check_nhwc(std::string_view op, const Tensor& x) {
  check_f32(op, x);
  NIBBLE_CHECK(x.rank() == 4, op, ": expects (N,H,W,C), got ", x.shape());
}

/// Storage for a gradient of dy's shape: dy's own if nobody else holds it. The kernels read an element before they
/// write it.
inline Tensor reuse(const Tensor& dy) { return dy.unique() ? dy : Tensor::empty_like(dy); }

/// y[i] = f(x[i])
template <class F>
void map(const Tensor& x, const Tensor& y, F f) {
  const float* from = x.data<float>().data();
  float* to = y.mutable_data<float>().data();
  parallel_for(0, x.numel(), kElementGrain, [=](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) to[i] = f(from[i]);
  });
}

/// y[i] = f(a[i], b[i])
template <class F>
void map(const Tensor& a, const Tensor& b, const Tensor& y, F f) {
  const float *from = a.data<float>().data(), *other = b.data<float>().data();
  float* to = y.mutable_data<float>().data();
  parallel_for(0, a.numel(), kElementGrain, [=](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) to[i] = f(from[i], other[i]);
  });
}

}  // namespace nibble
