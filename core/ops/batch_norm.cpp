#include <vector>

#include "core/ops.h"
#include "core/ops/batch_statistics.h"

namespace nibble {

using namespace batch_statistics;

namespace {

std::vector<double> to_doubles(const Tensor& t) { return {t.data<float>().begin(), t.data<float>().end()}; }

}  // namespace

ChannelAffine batch_norm_affine(const Tensor& gamma, const Tensor& beta, const BatchNormState& state) {
  return affine_of(gamma, beta, to_doubles(state.mean), inverse_of(to_doubles(state.variance), state.epsilon));
}

Tensor batch_norm_train(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state) {
  check_arguments("batch_norm", x, gamma, beta, state);
  const Batch batch = statistics_of(x, gamma, beta, state);
  const Tensor y = Tensor::empty_like(x);
  channel_affine(x, batch.affine.a, batch.affine.b, y);
  return record("batch_norm", y, {x, gamma, beta},
                [=, mean = batch.mean, inverse = batch.inverse](const Tensor& dy) -> Grads {
                  const ChannelProducts sums = channel_products(x, dy, mean.data<float>());
                  Tensor dx, dgamma, dbeta;
                  if (gamma.requires_grad()) dgamma = to_tensor(sums.product, inverse);
                  if (beta.requires_grad()) dbeta = to_tensor(sums.total, {});
                  if (x.requires_grad()) dx = train_input_gradient(x, dy, gamma, mean, inverse, sums, reuse(dy));
                  return {dx, dgamma, dbeta};
                });
}

Tensor batch_norm_eval(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state) {
  check_arguments("batch_norm", x, gamma, beta, state);
  const ChannelAffine affine = batch_norm_affine(gamma, beta, state);
  const Tensor y = Tensor::empty_like(x);
  channel_affine(x, affine.a, affine.b, y);
  if (!would_record({x, gamma, beta})) return y;
  // Copies: the running statistics may have moved on by the time of the backward pass.
  const Tensor mean = state.mean.clone(),
               inverse = to_tensor(inverse_of(to_doubles(state.variance), state.epsilon), {});
  return record("batch_norm", y, {x, gamma, beta}, [=, a = affine.a](const Tensor& dy) -> Grads {
    Tensor dx, dgamma, dbeta;
    if (gamma.requires_grad() || beta.requires_grad()) {
      const ChannelProducts sums = channel_products(x, dy, mean.data<float>());
      if (gamma.requires_grad()) dgamma = to_tensor(sums.product, inverse);
      if (beta.requires_grad()) dbeta = to_tensor(sums.total, {});
    }
    if (x.requires_grad()) channel_affine(dy, a, std::vector<float>(a.size()), dx = reuse(dy));
    return {dx, dgamma, dbeta};
  });
}

}  // namespace nibble
