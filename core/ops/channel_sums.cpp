#include "core/ops/channel_sums.h"

#include "core/kernels/elementwise/dispatch.h"

namespace nibble {

namespace {

const float* values(const Tensor& x) { return x.data<float>().data(); }

void correct(const Tensor& x, const Tensor& g, const ChannelCorrection& k, const Tensor& y, int64_t at, int64_t rows) {
  elementwise::kernels().correct(values(x) + at, values(g) + at, rows, x.dim(-1), k.center.data(), k.a.data(),
                                 k.b.data(), k.slope.data(), y.mutable_data<float>().data() + at);
}

}  // namespace

GrowingMoments::GrowingMoments(const Tensor& x) : x_(x), blocks_(x.shape()) {
  partial_ = Tensor::empty({blocks_.count(), 3, blocks_.channels});
}

void GrowingMoments::grow(int64_t rows_there) {
  const int64_t channels = blocks_.channels,
                end = rows_there == blocks_.rows ? blocks_.count() : rows_there / blocks_.height;
  float* const parts = partial_.mutable_data<float>().data();
  blocks_.each(done_, end, [&](int64_t block, int64_t at, int64_t rows) {
    float* to = parts + block * 3 * channels;
    elementwise::kernels().moments(values(x_) + at, rows, channels, to, to + channels, to + 2 * channels);
  });
  done_ = end;
}

ChannelMoments GrowingMoments::moments() {
  grow(blocks_.rows);
  const int64_t channels = blocks_.channels;
  const float* const parts = values(partial_);
  ChannelMoments sums{std::vector<double>(static_cast<size_t>(channels)),
                      std::vector<double>(static_cast<size_t>(channels))};
  double *mean = sums.mean.data(), *squares = sums.squares.data();
  parallel_for(0, channels, row_grain(blocks_.count() * 4), [&](int64_t lo, int64_t hi) {
    for (int64_t block = 0; block < blocks_.count(); ++block) {
      const float *center = parts + block * 3 * channels, *residual = center + channels;
      const auto rows = static_cast<double>(blocks_.rows_in(block));
      for (int64_t c = lo; c < hi; ++c) mean[c] += rows * center[c] + residual[c];
    }
    for (int64_t c = lo; c < hi; ++c) mean[c] /= static_cast<double>(blocks_.rows);
    // Moved from the block's centre to the mean of all: sum (x-m)^2 = sum (x-c)^2 + 2 (c-m) sum (x-c) + n (c-m)^2.
    for (int64_t block = 0; block < blocks_.count(); ++block) {
      const float *center = parts + block * 3 * channels, *residual = center + channels, *square = residual + channels;
      const auto rows = static_cast<double>(blocks_.rows_in(block));
      for (int64_t c = lo; c < hi; ++c) {
        const double shift = center[c] - mean[c];
        squares[c] += square[c] + shift * (2 * residual[c] + rows * shift);
      }
    }
  });
  return sums;
}

ChannelMoments channel_moments(const Tensor& x) { return GrowingMoments(x).moments(); }

ChannelProducts channel_products(const Tensor& x, const Tensor& g, std::span<const float> center) {
  const RowBlocks blocks(x.shape());
  return sum_products(blocks, [&](int64_t, int64_t at, int64_t rows, float* total, float* product) {
    elementwise::kernels().products(values(x) + at, values(g) + at, rows, blocks.channels, center.data(), total,
                                    product);
  });
}

void channel_affine(const Tensor& x, std::span<const float> a, std::span<const float> b, const Tensor& y) {
  const RowBlocks blocks(x.shape());
  const float* from = values(x);
  float* to = y.mutable_data<float>().data();
  blocks.each([&](int64_t, int64_t at, int64_t rows) {
    elementwise::kernels().affine(from + at, rows, blocks.channels, a.data(), b.data(), to + at);
  });
}

void channel_correct(const Tensor& x, const Tensor& g, const ChannelCorrection& correction, const Tensor& y) {
  RowBlocks(x.shape()).each([&](int64_t, int64_t at, int64_t rows) { correct(x, g, correction, y, at, rows); });
}

ChannelProducts channel_correct_products(const Tensor& x, const Tensor& g, const ChannelCorrection& correction,
                                         const Tensor& y) {
  const RowBlocks blocks(x.shape());
  return sum_products(blocks, [&](int64_t, int64_t at, int64_t rows, float* total, float* product) {
    elementwise::kernels().products(values(x) + at, values(g) + at, rows, blocks.channels, correction.center.data(),
                                    total, product);
    correct(x, g, correction, y, at, rows);
  });
}

}  // namespace nibble
