#include "core/ops.h"
#include "core/ops/map.h"

namespace nibble {

Tensor subsample(const Tensor& x, int stride) {
  check_nhwc("subsample", x);
  NIBBLE_CHECK(stride >= 1, "subsample: stride must be at least 1, got ", stride);
  const int64_t n = x.dim(0), height = x.dim(1), width = x.dim(2), channels = x.dim(3);
  const int64_t out_height = (height + stride - 1) / stride, out_width = (width + stride - 1) / stride;
  Tensor y = Tensor::empty({n, out_height, out_width, channels});
  const float* from = x.data<float>().data();
  float* to = y.mutable_data<float>().data();
  parallel_for(0, n * out_height, row_grain(out_width * channels), [=](int64_t lo, int64_t hi) {
    for (int64_t row = lo; row < hi; ++row) {
      const float* in = from + (row / out_height * height + row % out_height * stride) * width * channels;
      float* out = to + row * out_width * channels;
      for (int64_t column = 0; column < out_width; ++column) {
        out = std::copy_n(in + column * stride * channels, channels, out);
      }
    }
  });
  return record("subsample", y, {x}, [=, shape = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(shape);
    const float* grad = dy.data<float>().data();
    float* out = dx.mutable_data<float>().data();
    parallel_for(0, n * height, row_grain(width * channels), [=](int64_t lo, int64_t hi) {
      for (int64_t row = lo; row < hi; ++row) {
        const int64_t image = row / height, line = row % height;
        float* at = out + row * width * channels;
        std::fill_n(at, width * channels, 0.0f);
        if (line % stride != 0) continue;
        const float* in = grad + (image * out_height + line / stride) * out_width * channels;
        for (int64_t column = 0; column < out_width; ++column) {
          std::copy_n(in + column * channels, channels, at + column * stride * channels);
        }
      }
    });
    return {dx};
  });
}

}  // namespace nibble
