#include <vector>

#include "core/ops.h"
#include "core/ops/map.h"

namespace nibble {
namespace {

/// Copies `width` columns of every row.
void copy_columns(const float* from, int64_t from_stride, float* to, int64_t to_stride, int64_t rows, int64_t width) {
  parallel_for(0, rows, row_grain(width), [=](int64_t lo, int64_t hi) {
    for (int64_t row = lo; row < hi; ++row) std::copy_n(from + row * from_stride, width, to + row * to_stride);
  });
}

bool leading_agree(const Shape& a, const Shape& b) {
  return a.rank() == b.rank() && std::equal(a.begin(), a.end() - 1, b.begin());
}

Shape with_last(const Shape& shape, int64_t last) {
  std::vector<int64_t> dims(shape.begin(), shape.end());
  dims.back() = last;
  return Shape(std::span<const int64_t>(dims));
}

}  // namespace

Tensor concat(std::span<const Tensor> parts) {
  NIBBLE_CHECK(!parts.empty(), "concat: needs at least one input");
  int64_t width = 0, rows = 1;
  std::vector<Shape> shapes;
  for (const Tensor& part : parts) {
    check_f32("concat", part);
    NIBBLE_CHECK(part.rank() >= 1, "concat: cannot join scalars along the last axis");
    NIBBLE_CHECK(leading_agree(part.shape(), parts[0].shape()),
                 "concat: shapes differ before the last axis: ", parts[0].shape(), " and ", part.shape());
    shapes.push_back(part.shape());
    width += part.dim(-1);
  }
  for (int axis = 0; axis + 1 < shapes[0].rank(); ++axis) rows *= shapes[0][axis];
  Tensor y = Tensor::empty(with_last(shapes[0], width));
  float* to = y.mutable_data<float>().data();
  for (const Tensor& part : parts) {
    copy_columns(part.data<float>().data(), part.dim(-1), to, width, rows, part.dim(-1));
    to += part.dim(-1);
  }
  return record("concat", y, parts, [shapes, width, rows](const Tensor& dy) -> Grads {
    Grads grads;
    const float* from = dy.data<float>().data();
    for (const Shape& shape : shapes) {
      const int64_t part = shape[shape.rank() - 1];
      grads.push_back(Tensor::empty(shape));
      copy_columns(from, width, grads.back().mutable_data<float>().data(), part, rows, part);
      from += part;
    }
    return grads;
  });
}

Tensor pad_channels(const Tensor& x, int64_t front, int64_t behind) {
  check_f32("pad_channels", x);
  NIBBLE_CHECK(x.rank() >= 1, "pad_channels: expects at least one axis, got ", x.shape());
  NIBBLE_CHECK(front >= 0 && behind >= 0, "pad_channels: numbers of channels must not be negative, got ", front,
               " and ", behind);
  const int64_t channels = x.dim(-1), width = front + channels + behind;
  Tensor y = Tensor::empty(with_last(x.shape(), width));
  const int64_t rows = channels > 0 ? x.numel() / channels : 0;
  NIBBLE_CHECK(channels > 0 || y.numel() == 0, "pad_channels: the input has no channels, shape ", x.shape());
  const float* from = x.data<float>().data();
  float* to = y.mutable_data<float>().data();
  parallel_for(0, rows, row_grain(width), [=](int64_t lo, int64_t hi) {
    for (int64_t row = lo; row < hi; ++row) {
      float* out = std::fill_n(to + row * width, front, 0.0f);
      out = std::copy_n(from + row * channels, channels, out);
      std::fill_n(out, behind, 0.0f);
    }
  });
  return record("pad_channels", y, {x}, [=, shape = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(shape);
    copy_columns(dy.data<float>().data() + front, width, dx.mutable_data<float>().data(), channels, rows, channels);
    return {dx};
  });
}

}  // namespace nibble
