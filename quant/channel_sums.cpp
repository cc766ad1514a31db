#include "quant/channel_sums.h"

#include <algorithm>

#include "core/kernels/elementwise/dispatch.h"
#include "core/ops/map.h"

namespace nibble {

namespace {

/// x as rows of channels, cut into blocks of rows by its shape alone.
struct Rows {
  explicit Rows(const Tensor& x)
      : channels(x.dim(-1)), count(x.numel() / channels), height(std::max<int64_t>(64, 8192 / channels)) {}

  int64_t blocks() const { return (count + height - 1) / height; }
  int64_t in_block(int64_t block) const { return std::min(height, count - block * height); }
  /// body(block, offset of its first element, its rows) for all blocks, from several threads.
  template <class Body>
  void each(const Body& body) const {
    each(0, blocks(), body);
  }
  template <class Body>
  void each(int64_t first, int64_t end, const Body& body) const {
    parallel_for(first, end, std::max<int64_t>(1, kElementGrain / (height * channels)), [&](int64_t lo, int64_t hi) {
      for (int64_t block = lo; block < hi; ++block) body(block, block * height * channels, in_block(block));
    });
  }

  int64_t channels, count, height;
};

const float* values(const Tensor& x) { return x.data<float>().data(); }

/// body(offset of a block's first element, its rows, total, product) forms the sums of a block.
template <class Body>
ChannelProducts sum_blocks(const Rows& rows, const Body& body) {
  const auto channels = static_cast<size_t>(rows.channels);
  const Tensor partial = Tensor::empty({rows.blocks(), 2, rows.channels});
  float* parts = partial.mutable_data<float>().data();
  rows.each([&](int64_t block, int64_t at, int64_t height) {
    float* to = parts + block * 2 * rows.channels;
    body(at, height, to, to + channels);
  });
  ChannelProducts sums{std::vector<double>(channels), std::vector<double>(channels)};
  for (int64_t block = 0; block < rows.blocks(); ++block) {
    const float *total = parts + block * 2 * rows.channels, *product = total + channels;
    for (size_t c = 0; c < channels; ++c) {
      sums.total[c] += total[c];
      sums.product[c] += product[c];
    }
  }
  return sums;
}

}  // namespace

GrowingMoments::GrowingMoments(const Tensor& x) : x_(x) {
  const Rows rows(x);
  partial_ = Tensor::empty({rows.blocks(), 3, rows.channels});
}

void GrowingMoments::grow(int64_t rows_there) {
  const Rows rows(x_);
  const int64_t end = rows_there == rows.count ? rows.blocks() : rows_there / rows.height;
  float* const parts = partial_.mutable_data<float>().data();
  rows.each(blocks_, end, [&](int64_t block, int64_t at, int64_t height) {
    float *center = parts + block * 3 * rows.channels, *residual = center + rows.channels;
    elementwise::kernels().moments(values(x_) + at, height, rows.channels, center, residual, residual + rows.channels);
  });
  blocks_ = end;
}

ChannelMoments GrowingMoments::moments() {
  const Rows rows(x_);
  grow(rows.count);
  const auto channels = static_cast<size_t>(rows.channels);
  const float* const parts = values(partial_);
  ChannelMoments sums{std::vector<double>(channels), std::vector<double>(channels)};
  for (int64_t block = 0; block < rows.blocks(); ++block) {
    const float *center = parts + block * 3 * rows.channels, *residual = center + channels;
    const auto height = static_cast<double>(rows.in_block(block));
    for (size_t c = 0; c < channels; ++c) sums.mean[c] += height * center[c] + residual[c];
  }
  for (double& mean : sums.mean) mean /= static_cast<double>(rows.count);
  // Moved from the block's centre to the mean of all: sum (x-m)^2 = sum (x-c)^2 + 2 (c-m) sum (x-c) + n (c-m)^2.
  for (int64_t block = 0; block < rows.blocks(); ++block) {
    const float *center = parts + block * 3 * rows.channels, *residual = center + channels;
    const float* square = residual + channels;
    const auto height = static_cast<double>(rows.in_block(block));
    for (size_t c = 0; c < channels; ++c) {
      const double shift = center[c] - sums.mean[c];
      sums.squares[c] += square[c] + shift * (2 * residual[c] + height * shift);
    }
  }
  return sums;
}

ChannelMoments channel_moments(const Tensor& x) { return GrowingMoments(x).moments(); }

ChannelProducts channel_products(const Tensor& x, const Tensor& g, const std::vector<float>& center) {
  const Rows rows(x);
  return sum_blocks(rows, [&](int64_t at, int64_t height, float* total, float* product) {
    elementwise::kernels().products(values(x) + at, values(g) + at, height, rows.channels, center.data(), total,
                                    product);
  });
}

Tensor channel_correct(const Tensor& x, const Tensor& g, const std::vector<float>& center, const std::vector<float>& a,
                       const std::vector<float>& b, const std::vector<float>& slope, std::vector<double>& product) {
  const Rows rows(x);
  Tensor corrected = Tensor::empty_like(x);
  float* const to = corrected.mutable_data<float>().data();
  product = sum_blocks(rows, [&](int64_t at, int64_t height, float* total, float* sums) {
              const elementwise::Kernels& kernels = elementwise::kernels();
              kernels.products(values(x) + at, values(g) + at, height, rows.channels, center.data(), total, sums);
              kernels.correct(values(x) + at, values(g) + at, height, rows.channels, center.data(), a.data(), b.data(),
                              slope.data(), to + at);
            }).product;
  return corrected;
}

void channel_affine(const Tensor& x, const std::vector<float>& a, const std::vector<float>& b, const Tensor& y) {
  const Rows rows(x);
  const float* from = values(x);
  float* to = y.mutable_data<float>().data();
  rows.each([&](int64_t, int64_t at, int64_t height) {
    elementwise::kernels().affine(from + at, height, rows.channels, a.data(), b.data(), to + at);
  });
}

}  // namespace nibble
