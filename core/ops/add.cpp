#include "core/kernels/elementwise/dispatch.h"
#include "core/ops.h"
#include "core/ops/map.h"

namespace nibble {

Tensor add(const Tensor& a, const Tensor& b) {
  check_f32("add", a);
  check_f32("add", b);
  NIBBLE_CHECK(a.shape() == b.shape(), "add: shapes differ: ", a.shape(), " and ", b.shape());
  const elementwise::Kernels& kernels = elementwise::kernels();
  Tensor y = Tensor::empty_like(a);
  const float *left = a.data<float>().data(), *right = b.data<float>().data();
  float* to = y.mutable_data<float>().data();
  parallel_for(0, a.numel(), kElementGrain,
               [&](int64_t lo, int64_t hi) { kernels.add(left + lo, right + lo, to + lo, hi - lo); });
  return record("add", y, {a, b}, [](const Tensor& dy) -> Grads { return {dy, dy}; });
}

Tensor scale(const Tensor& x, float factor) {
  check_f32("scale", x);
  Tensor y = Tensor::empty_like(x);
  map(x, y, [factor](float v) { return factor * v; });
  return record("scale", y, {x}, [factor](const Tensor& dy) -> Grads {
    Tensor dx = reuse(dy);
    map(dy, dx, [factor](float g) { return factor * g; });
    return {dx};
  });
}

}  // namespace nibble
