#include <vector>

#include "core/kernels/elementwise/dispatch.h"
#include "core/ops/banded_max_pool.h"
#include "core/ops/map.h"

namespace nibble {
namespace {

/// One axis of a pooling operation.
struct Axis {
  int64_t in, out, kernel, stride, before, after;

  int64_t start(int64_t o) const { return o * stride - before; }
  int64_t first(int64_t o) const { return std::max<int64_t>(0, start(o)); }
  int64_t last(int64_t o) const { return std::min(in, start(o) + kernel); }
  /// Length of the window, clipped to the padded input.
  int64_t full(int64_t o) const { return std::min(in + after, start(o) + kernel) - start(o); }
};

struct Plan {
  Axis h, w;
  int64_t images, channels;

  int64_t in_plane() const { return h.in * w.in * channels; }
  int64_t out_plane() const { return h.out * w.out * channels; }
};

Axis make_axis(const char* op, const Shape& x, int64_t n, int kernel, int stride, int before, int after, bool ceil) {
  NIBBLE_CHECK(kernel >= 1 && stride >= 1, op, ": kernel and stride must be at least 1, got ", kernel, " and ", stride);
  NIBBLE_CHECK(before >= 0 && after >= 0 && before < kernel && after < kernel, op,
               ": padding must be at least 0 and smaller than the kernel ", kernel, ", got ", before, " and ", after);
  const int64_t room = n + before + after - kernel;
  NIBBLE_CHECK(n >= 1 && room >= 0, op, ": a window of ", kernel, " pixels does not fit into ", n, " padded by ",
               before, " and ", after, " (input ", x, ")");
  int64_t out = (ceil ? room + stride - 1 : room) / stride + 1;
  if (ceil && (out - 1) * stride - before >= n) --out;
  return {n, out, kernel, stride, before, after};
}

Plan make_plan(const char* op, const Shape& x, const PoolGeometry& g) {
  return {make_axis(op, x, x[1], g.kernel_h, g.stride_h, g.pad.top, g.pad.bottom, g.ceil_mode),
          make_axis(op, x, x[2], g.kernel_w, g.stride_w, g.pad.left, g.pad.right, g.ceil_mode), x[0], x[3]};
}

Plan make_plan(const char* op, const Tensor& x, const PoolGeometry& g) {
  check_nhwc(op, x);
  return make_plan(op, x.shape(), g);
}

/// body(output offset, row of the output, column) for every window of the images in [lo, hi).
template <class Body>
void each_window(const Plan& p, int64_t lo, int64_t hi, const Body& body) {
  for (int64_t image = lo; image < hi; ++image)
    for (int64_t i = 0; i < p.h.out; ++i)
      for (int64_t j = 0; j < p.w.out; ++j) {
        body(image * p.in_plane(), image * p.out_plane() + (i * p.w.out + j) * p.channels, i, j);
      }
}

/// body(offset of the pixel within its image) for every pixel of a window, in row-major order.
template <class Body>
void each_pixel(const Plan& p, int64_t i, int64_t j, const Body& body) {
  for (int64_t r = p.h.first(i); r < p.h.last(i); ++r)
    for (int64_t c = p.w.first(j); c < p.w.last(j); ++c) body((r * p.w.in + c) * p.channels);
}

/// best[c] = largest value of channel c so far, where[c] = its pixel's offset; NaN beats everything.
void keep_larger(const float* x, int64_t offset, int64_t channels, float* best, int32_t* where) {
  const auto pixel = static_cast<int32_t>(offset / channels);
  for (int64_t c = 0; c < channels; ++c) {
    const bool larger = (x[c] > best[c]) | (x[c] != x[c]);
    best[c] = larger ? x[c] : best[c];
    where[c] = larger ? pixel : where[c];
  }
}

/// The pixel of each channel's largest value in a window of an image.
void find_winners(const Plan& p, const float* image, int64_t i, int64_t j, std::span<float> best,
                  std::span<int32_t> winners) {
  bool begun = false;
  each_pixel(p, i, j, [&](int64_t pixel) {
    if (begun) return keep_larger(image + pixel, pixel, p.channels, best.data(), winners.data());
    std::copy_n(image + pixel, p.channels, best.begin());
    std::ranges::fill(winners, static_cast<int32_t>(pixel / p.channels));
    begun = true;
  });
}

/// Every pixel's share of its window is 1 / this.
float divisor(const Plan& p, bool count_padding, int64_t i, int64_t j) {
  const int64_t pixels =
      count_padding ? p.h.full(i) * p.w.full(j) : (p.h.last(i) - p.h.first(i)) * (p.w.last(j) - p.w.first(j));
  return static_cast<float>(pixels);
}

/// Row i of the largest values of an image of which the rows from `first` on lie at x.
void largest_of_row(const Plan& p, const float* x, int64_t first, int64_t i, std::vector<int64_t>& pixels, float* y) {
  const auto largest = elementwise::kernels().largest;
  const int64_t before = first * p.w.in * p.channels;
  pixels.resize(static_cast<size_t>(p.h.kernel * p.w.kernel));
  for (int64_t j = 0; j < p.w.out; ++j) {
    int64_t count = 0;
    each_pixel(p, i, j, [&](int64_t pixel) { pixels[static_cast<size_t>(count++)] = pixel - before; });
    largest(x, pixels.data(), count, p.channels, y + j * p.channels);
  }
}

/// What a window of `kernel` rows costs, for sharing rows among threads.
int64_t pooled_row_grain(const Plan& p) { return row_grain(p.h.kernel * p.w.in * p.channels); }

}  // namespace

Tensor max_pool(const Tensor& x, const PoolGeometry& geometry) {
  const Plan p = make_plan("max_pool", x, geometry);
  NIBBLE_CHECK(p.h.in * p.w.in <= INT32_MAX, "max_pool: the images are too large, input ", x.shape());
  Tensor y = Tensor::empty({p.images, p.h.out, p.w.out, p.channels});
  const float* from = x.data<float>().data();
  float* to = y.mutable_data<float>().data();
  const int64_t out_row = p.w.out * p.channels;
  parallel_for(0, p.images * p.h.out, pooled_row_grain(p), [=, &p](int64_t lo, int64_t hi) {
    std::vector<int64_t> pixels;
    for (int64_t row = lo; row < hi; ++row)
      largest_of_row(p, from + row / p.h.out * p.in_plane(), 0, row % p.h.out, pixels, to + row * out_row);
  });
  return record("max_pool", y, {x}, [p, x](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(x.shape());
    const float* in = x.data<float>().data();
    const float* grad = dy.data<float>().data();
    float* out = dx.mutable_data<float>().data();
    parallel_for(0, p.images, row_grain(p.in_plane()), [&](int64_t lo, int64_t hi) {
      std::vector<float> best(static_cast<size_t>(p.channels));
      std::vector<int32_t> winners(best.size());
      std::fill(out + lo * p.in_plane(), out + hi * p.in_plane(), 0.0f);
      each_window(p, lo, hi, [&](int64_t image, int64_t at, int64_t i, int64_t j) {
        find_winners(p, in + image, i, j, best, winners);
        for (int64_t c = 0; c < p.channels; ++c)
          out[image + winners[static_cast<size_t>(c)] * p.channels + c] += grad[at + c];
      });
    });
    return {dx};
  });
}

BandedMaxPool::BandedMaxPool(const Shape& images, const PoolGeometry& geometry) : images_(images), geometry_(geometry) {
  NIBBLE_CHECK(images.rank() == 4, "max_pool: expects (N, H, W, C), got ", images);
  const Plan p = make_plan("max_pool", images, geometry);
  out_ = {p.images, p.h.out, p.w.out, p.channels};
}

void BandedMaxPool::run(const Rows& rows, const Tensor& y) const {
  const Plan p = make_plan("max_pool", images_, geometry_);
  constexpr int64_t kCacheValues = 96 * 1024;  // of a core
  const int64_t in_row = p.w.in * p.channels, out_row = p.w.out * p.channels;
  const int64_t fit = std::max(p.h.kernel, threads() * kCacheValues / in_row);
  const int64_t step = (fit - p.h.kernel) / p.h.stride + 1;  // rows of the output from one band
  const Tensor band = Tensor::empty({std::min(p.h.in, (step - 1) * p.h.stride + p.h.kernel), p.w.in, p.channels});
  float* const held = band.mutable_data<float>().data();
  float* const to = y.mutable_data<float>().data();
  for (int64_t image = 0; image < p.images; ++image) {
    int64_t held_first = 0, held_last = 0;
    for (int64_t i = 0; i < p.h.out; i += step) {
      const int64_t end = std::min(p.h.out, i + step), first = p.h.first(i), last = p.h.last(end - 1);
      const int64_t begin = std::max(first, held_last);  // what comes before, the band before has had, too
      std::copy(held + (std::min(first, held_last) - held_first) * in_row, held + (held_last - held_first) * in_row,
                held);
      if (begin < last) rows(image, begin, last - begin, held + (begin - first) * in_row);
      parallel_for(i, end, pooled_row_grain(p), [&](int64_t lo, int64_t hi) {
        std::vector<int64_t> pixels;
        for (int64_t row = lo; row < hi; ++row)
          largest_of_row(p, held, first, row, pixels, to + (image * p.h.out + row) * out_row);
      });
      held_first = first;
      held_last = std::max(begin, last);
    }
  }
}

Tensor avg_pool(const Tensor& x, const PoolGeometry& geometry) {
  const Plan p = make_plan("avg_pool", x, geometry);
  const bool count_padding = geometry.count_padding;
  Tensor y = Tensor::empty({p.images, p.h.out, p.w.out, p.channels});
  const float* from = x.data<float>().data();
  float* to = y.mutable_data<float>().data();
  parallel_for(0, p.images, row_grain(p.in_plane()), [&](int64_t lo, int64_t hi) {
    each_window(p, lo, hi, [&](int64_t image, int64_t at, int64_t i, int64_t j) {
      float* out = to + at;
      std::fill_n(out, p.channels, 0.0f);
      each_pixel(p, i, j, [&](int64_t pixel) {
        for (int64_t c = 0; c < p.channels; ++c) out[c] += from[image + pixel + c];
      });
      const float count = divisor(p, count_padding, i, j);
      for (int64_t c = 0; c < p.channels; ++c) out[c] /= count;
    });
  });
  return record("avg_pool", y, {x}, [p, count_padding, shape = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(shape);
    const float* grad = dy.data<float>().data();
    float* out = dx.mutable_data<float>().data();
    parallel_for(0, p.images, row_grain(p.in_plane()), [&](int64_t lo, int64_t hi) {
      std::fill(out + lo * p.in_plane(), out + hi * p.in_plane(), 0.0f);
      each_window(p, lo, hi, [&](int64_t image, int64_t at, int64_t i, int64_t j) {
        const float share = 1 / divisor(p, count_padding, i, j);
        each_pixel(p, i, j, [&](int64_t pixel) {
          for (int64_t c = 0; c < p.channels; ++c) out[image + pixel + c] += share * grad[at + c];
        });
      });
    });
    return {dx};
  });
}

Tensor global_avg_pool(const Tensor& x) {
  check_nhwc("global_avg_pool", x);
  const int64_t images = x.dim(0), pixels = x.dim(1) * x.dim(2), channels = x.dim(3);
  NIBBLE_CHECK(pixels >= 1, "global_avg_pool: the images are empty, input ", x.shape());
  Tensor y = Tensor::empty({images, channels});
  const float* from = x.data<float>().data();
  float* to = y.mutable_data<float>().data();
  parallel_for(0, images, row_grain(pixels * channels), [=](int64_t lo, int64_t hi) {
    std::vector<double> sum(static_cast<size_t>(channels));
    for (int64_t image = lo; image < hi; ++image) {
      std::ranges::fill(sum, 0.0);
      for (int64_t pixel = 0; pixel < pixels; ++pixel) {
        const float* at = from + (image * pixels + pixel) * channels;
        for (int64_t c = 0; c < channels; ++c) sum[static_cast<size_t>(c)] += at[c];
      }
      for (int64_t c = 0; c < channels; ++c) {
        to[image * channels + c] = static_cast<float>(sum[static_cast<size_t>(c)] / static_cast<double>(pixels));
      }
    }
  });
  return record("global_avg_pool", y, {x}, [=, shape = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(shape);
    const float* grad = dy.data<float>().data();
    float* out = dx.mutable_data<float>().data();
    const float share = 1 / static_cast<float>(pixels);
    parallel_for(0, images, row_grain(pixels * channels), [=](int64_t lo, int64_t hi) {
      for (int64_t row = lo * pixels; row < hi * pixels; ++row) {
        const float* in = grad + row / pixels * channels;
        for (int64_t c = 0; c < channels; ++c) out[row * channels + c] = share * in[c];
      }
    });
    return {dx};
  });
}

}  // namespace nibble
