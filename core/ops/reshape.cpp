#include "core/ops.h"
#include "core/ops/map.h"

namespace nibble {
namespace {

/// to(columns, rows) = transpose of from(rows, columns), for each of n images.
void transpose(const Tensor& from, const Tensor& to, int64_t n, int64_t rows, int64_t columns) {
  const float* x = from.data<float>().data();
  float* y = to.mutable_data<float>().data();
  parallel_for(0, n, row_grain(rows * columns), [=](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) {
      const float* in = x + i * rows * columns;
      float* out = y + i * rows * columns;
      for (int64_t c = 0; c < columns; ++c)
        for (int64_t r = 0; r < rows; ++r) out[c * rows + r] = in[r * columns + c];
    }
  });
}

}  // namespace

Tensor reshape(const Tensor& x, const Shape& shape) {
  check_f32("reshape", x);
  NIBBLE_CHECK(x.numel() == shape.numel(), "reshape: ", x.shape(), " has ", x.numel(), " elements, ", shape, " has ",
               shape.numel());
  return record("reshape", x.view(shape), {x},
                [before = x.shape()](const Tensor& dy) -> Grads { return {dy.view(before)}; });
}

Tensor flatten(const Tensor& x) {
  check_nhwc("flatten", x);
  const int64_t n = x.dim(0), pixels = x.dim(1) * x.dim(2), channels = x.dim(3);
  if (pixels == 1 || channels == 1) return reshape(x, {n, pixels * channels});
  Tensor y = Tensor::empty({n, pixels * channels});
  transpose(x, y, n, pixels, channels);
  return record("flatten", y, {x}, [=, shape = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(shape);
    transpose(dy, dx, n, channels, pixels);
    return {dx};
  });
}

}  // namespace nibble
