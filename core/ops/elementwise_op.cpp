#include "core/ops/elementwise_op.h"

#include "core/kernels/elementwise/dispatch.h"

namespace nibble {

double ElementwiseOp::backward_of_relu(const float* x, const float* dy, float* dx, int64_t n) const {
  const double sum = backward(x, dy, dx, n);
  elementwise::kernels().relu_backward(x, dx, dx, n);
  return sum;
}

}  // namespace nibble
