#include <vector>

#include "core/kernels/elementwise/dispatch.h"
#include "core/ops.h"
#include "core/ops/batch_statistics.h"

namespace nibble {

using namespace batch_statistics;

namespace {

Products products_of(const Tensor& x, const Tensor& dy, const Tensor& mean, const RowBlocks& blocks) {
  const elementwise::Kernels& kernels = elementwise::kernels();
  return sum_products(blocks, [&](int64_t, int64_t at, int64_t rows, float* total, float* product) {
    kernels.products(values(x) + at, values(dy) + at, rows, blocks.channels, values(mean), total, product);
  });
}

/// y = a[c] * x + b[c]
Tensor apply(const Tensor& x, const std::vector<float>& a, const std::vector<float>& b, const Tensor& y) {
  const RowBlocks blocks(x.shape());
  const elementwise::Kernels& kernels = elementwise::kernels();
  const float* from = values(x);
  float* to = y.mutable_data<float>().data();
  blocks.each([&](int64_t, int64_t at, int64_t rows) {
    kernels.affine(from + at, rows, blocks.channels, a.data(), b.data(), to + at);
  });
  return y;
}

std::vector<double> to_doubles(const Tensor& t) { return {t.data<float>().begin(), t.data<float>().end()}; }

}  // namespace

ChannelAffine batch_norm_affine(const Tensor& gamma, const Tensor& beta, const BatchNormState& state) {
  return affine_of(gamma, beta, to_doubles(state.mean), inverse_of(to_doubles(state.variance), state.epsilon));
}

Tensor batch_norm_train(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state) {
  check_arguments("batch_norm", x, gamma, beta, state);
  const RowBlocks blocks(x.shape());
  const Batch batch = statistics_of(x, gamma, beta, state, blocks);
  const Tensor y = apply(x, batch.affine.a, batch.affine.b, Tensor::empty_like(x));
  return record("batch_norm", y, {x, gamma, beta},
                [=, mean = batch.mean, inverse = batch.inverse](const Tensor& dy) -> Grads {
                  const Products sums = products_of(x, dy, mean, blocks);
                  Tensor dx, dgamma, dbeta;
                  if (gamma.requires_grad()) dgamma = to_tensor(sums.product, inverse);
                  if (beta.requires_grad()) dbeta = to_tensor(sums.total, {});
                  if (x.requires_grad())
                    dx = train_input_gradient(x, dy, gamma, mean, inverse, sums, blocks, reuse(dy));
                  return {dx, dgamma, dbeta};
                });
}

Tensor batch_norm_eval(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state) {
  check_arguments("batch_norm", x, gamma, beta, state);
  const ChannelAffine affine = batch_norm_affine(gamma, beta, state);
  const Tensor y = apply(x, affine.a, affine.b, Tensor::empty_like(x));
  if (!would_record({x, gamma, beta})) return y;
  // Copies: the running statistics may have moved on by the time of the backward pass.
  const Tensor mean = state.mean.clone(),
               inverse = to_tensor(inverse_of(to_doubles(state.variance), state.epsilon), {});
  return record("batch_norm", y, {x, gamma, beta}, [=, a = affine.a](const Tensor& dy) -> Grads {
    Tensor dx, dgamma, dbeta;
    if (gamma.requires_grad() || beta.requires_grad()) {
      const Products sums = products_of(x, dy, mean, RowBlocks(x.shape()));
      if (gamma.requires_grad()) dgamma = to_tensor(sums.product, inverse);
      if (beta.requires_grad()) dbeta = to_tensor(sums.total, {});
    }
    if (x.requires_grad()) dx = apply(dy, a, std::vector<float>(a.size()), reuse(dy));
    return {dx, dgamma, dbeta};
  });
}

}  // namespace nibble
