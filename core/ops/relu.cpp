#include "core/kernels/elementwise/dispatch.h"
#include "core/ops.h"
#include "core/ops/map.h"

namespace nibble {

Tensor relu(const Tensor& x) {
  check_f32("relu", x);
  const elementwise::Kernels& kernels = elementwise::kernels();
  Tensor y = Tensor::empty_like(x);
  const float* from = x.data<float>().data();
  float* to = y.mutable_data<float>().data();
  parallel_for(0, x.numel(), kElementGrain, [&](int64_t lo, int64_t hi) { kernels.relu(from + lo, to + lo, hi - lo); });
  // The sign of y says all that the sign of x would, and the next layer keeps y anyway.
  return record("relu", y, {x}, [&kernels, kept = y.detach()](const Tensor& dy) -> Grads {
    Tensor dx = reuse(dy);
    const float *out = kept.data<float>().data(), *in = dy.data<float>().data();
    float* grad = dx.mutable_data<float>().data();
    parallel_for(0, dy.numel(), kElementGrain,
                 [&](int64_t lo, int64_t hi) { kernels.relu_backward(out + lo, in + lo, grad + lo, hi - lo); });
    return {dx};
  });
}

Tensor relu6(const Tensor& x) {
  check_f32("relu6", x);
  Tensor y = Tensor::empty_like(x);
  map(x, y, [](float v) {
    const float positive = v < 0 ? 0 : v;
    return positive > 6 ? 6 : positive;
  });
  return record("relu6", y, {x}, [kept = y.detach()](const Tensor& dy) -> Grads {
    Tensor dx = reuse(dy);
    map(kept, dy, dx, [](float v, float g) { return v > 0 && v < 6 ? g : 0; });
    return {dx};
  });
}

}  // namespace nibble
