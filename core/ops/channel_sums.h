#pragma once

#include <span>
#include <vector>

#include "core/ops/row_blocks.h"
#include "core/tensor.h"

/// Sums and maps along the last axis of (...,C). Sums are those of blocks of rows, added in order in double precision,
/// so that they do not depend on the number of threads.
namespace nibble {

/// Mean and sum of squared deviations from it, one of each per channel.
struct ChannelMoments {
  std::vector<double> mean, squares;
};
ChannelMoments channel_moments(const Tensor& x);

/// The same of a tensor that comes to be from its first row on.
class GrowingMoments {
 public:
  explicit GrowingMoments(const Tensor& x);
  /// So many rows of channels are there now.
  void grow(int64_t rows);
  /// Of all rows.
  ChannelMoments moments();

 private:
  Tensor x_, partial_;
  RowBlocks blocks_;
  int64_t done_ = 0;  ///< blocks
};

/// Sums of g and of g * (x - center[c]), one of each per channel.
struct ChannelProducts {
  std::vector<double> total, product;
};
ChannelProducts channel_products(const Tensor& x, const Tensor& g, std::span<const float> center);

/// `of_block`(block, offset, rows, total, product) forms the sums of one block.
template <class Body>
ChannelProducts sum_products(const RowBlocks& blocks, const Body& of_block) {
  const int64_t channels = blocks.channels;
  const Tensor partial = Tensor::empty({blocks.count(), 2, channels});
  float* parts = partial.mutable_data<float>().data();
  blocks.each([&](int64_t block, int64_t at, int64_t rows) {
    float* to = parts + block * 2 * channels;
    of_block(block, at, rows, to, to + channels);
  });
  ChannelProducts sums{std::vector<double>(static_cast<size_t>(channels)),
                       std::vector<double>(static_cast<size_t>(channels))};
  double *total = sums.total.data(), *product = sums.product.data();
  parallel_for(0, channels, row_grain(blocks.count() * 2), [&](int64_t lo, int64_t hi) {
    for (int64_t block = 0; block < blocks.count(); ++block) {
      const float *first = parts + block * 2 * channels, *second = first + channels;
      for (int64_t c = lo; c < hi; ++c) {
        total[c] += first[c];
        product[c] += second[c];
      }
    }
  });
  return sums;
}

/// y = a[c] * x + b[c] into y's storage, which may be x's.
void channel_affine(const Tensor& x, std::span<const float> a, std::span<const float> b, const Tensor& y);

/// What the gradient of a normalisation is made of: a[c] * g - (b[c] + slope[c] * (x - center[c])).
struct ChannelCorrection {
  std::span<const float> center, a, b, slope;
};
/// Into y's storage, which may be g's.
void channel_correct(const Tensor& x, const Tensor& g, const ChannelCorrection& correction, const Tensor& y);
/// The same, and the sums of g and of g * (x - center[c]) in the same pass.
ChannelProducts channel_correct_products(const Tensor& x, const Tensor& g, const ChannelCorrection& correction,
                                         const Tensor& y);

}  // namespace nibble
