#pragma once

#include <vector>

#include "core/ops.h"
#include "core/ops/row_blocks.h"

/// What the batch norms have in common: the statistics of a batch, and the sums and gradients that follow from them.
namespace nibble::batch_statistics {

inline const float* values(const Tensor& t) { return t.data<float>().data(); }

/// Throws Error naming `op` unless the arguments of a batch norm fit each other.
void check_arguments(const char* op, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                     const BatchNormState& state);

/// The statistics of a batch and what they make of gamma and beta.
struct Batch {
  ChannelAffine affine;
  Tensor mean, inverse;
};

/// Updates the running statistics.
Batch statistics_of(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state,
                    const RowBlocks& blocks);
/// The factor and the offset that normalise, scale and shift.
ChannelAffine affine_of(const Tensor& gamma, const Tensor& beta, const std::vector<double>& mean,
                        const std::vector<double>& inverse);
/// 1 / sqrt(variance + epsilon)
std::vector<double> inverse_of(const std::vector<double>& variance, float epsilon);
/// Each times its factor, in f32; `factor` may be undefined.
Tensor to_tensor(const std::vector<double>& from, const Tensor& factor);

/// dbeta = sum dy and dgamma / inverse = sum dy (x - mean).
struct Products {
  std::vector<double> total, product;
};

/// `of_block`(block, offset, rows, total, product) forms those of one block.
template <class Body>
Products sum_products(const RowBlocks& blocks, const Body& of_block) {
  const int64_t channels = blocks.channels;
  const Tensor partial = Tensor::empty({blocks.count(), 2, channels});
  float* parts = partial.mutable_data<float>().data();
  blocks.each([&](int64_t block, int64_t at, int64_t rows) {
    float* to = parts + block * 2 * channels;
    of_block(block, at, rows, to, to + channels);
  });
  Products sums{std::vector<double>(static_cast<size_t>(channels)), std::vector<double>(static_cast<size_t>(channels))};
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

/// dx = gamma * inverse * (dy - mean(dy) - xhat * mean(dy * xhat)) with xhat = (x - mean) * inverse, formed from x
/// again rather than kept. Into `dx`, which may be dy.
Tensor train_input_gradient(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& mean,
                            const Tensor& inverse, const Products& sums, const RowBlocks& blocks, const Tensor& dx);

}  // namespace nibble::batch_statistics
