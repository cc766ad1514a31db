#include "core/ops/batch_statistics.h"

#include <cmath>

namespace nibble::batch_statistics {
namespace {

void check_vector(const char* op, const char* what, const Tensor& t, const Tensor& x) {
  NIBBLE_CHECK(t.dtype() == DType::f32 && t.rank() == 1 && t.dim(0) == x.dim(-1), op, ": ", what, " must have ",
               x.dim(-1), " f32 elements, got ", name_of(t.dtype()), t.shape(), " (input ", x.shape(), ")");
}

void update(const BatchNormState& state, const ChannelMoments& moments, int64_t rows) {
  const double keep = state.momentum;
  const auto mean = state.mean.mutable_data<float>(), variance = state.variance.mutable_data<float>();
  for (size_t c = 0; c < mean.size(); ++c) {
    const double unbiased = moments.squares[c] / static_cast<double>(rows - 1);
    mean[c] = static_cast<float>(keep * mean[c] + (1 - keep) * moments.mean[c]);
    variance[c] = static_cast<float>(keep * variance[c] + (1 - keep) * unbiased);
  }
}

}  // namespace

void check_arguments(const char* op, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                     const BatchNormState& state) {
  check_f32(op, x);
  NIBBLE_CHECK(x.rank() >= 2 && x.dim(-1) >= 1, op, ": expects (N,...,C), got ", x.shape());
  if (gamma.defined()) check_vector(op, "gamma", gamma, x);
  if (beta.defined()) check_vector(op, "beta", beta, x);
  check_vector(op, "the running mean", state.mean, x);
  check_vector(op, "the running variance", state.variance, x);
  NIBBLE_CHECK(state.epsilon >= 0, op, ": epsilon must not be negative, got ", state.epsilon);
  NIBBLE_CHECK(state.momentum >= 0 && state.momentum <= 1, op, ": momentum must lie in [0, 1], got ", state.momentum);
}

std::vector<double> inverse_of(const std::vector<double>& variance, float epsilon) {
  std::vector<double> inverse;
  for (const double v : variance) inverse.push_back(1 / std::sqrt(v + epsilon));
  return inverse;
}

ChannelAffine affine_of(const Tensor& gamma, const Tensor& beta, const std::vector<double>& mean,
                        const std::vector<double>& inverse) {
  ChannelAffine affine;
  for (size_t c = 0; c < mean.size(); ++c) {
    const double a = (gamma.defined() ? values(gamma)[c] : 1.0) * inverse[c];
    affine.a.push_back(static_cast<float>(a));
    affine.b.push_back(static_cast<float>((beta.defined() ? values(beta)[c] : 0.0) - a * mean[c]));
  }
  return affine;
}

Tensor to_tensor(const std::vector<double>& from, const Tensor& factor) {
  Tensor to = Tensor::empty({static_cast<int64_t>(from.size())});
  for (size_t c = 0; c < from.size(); ++c) {
    to.mutable_data<float>()[c] = static_cast<float>(from[c] * (factor.defined() ? values(factor)[c] : 1.0));
  }
  return to;
}

Batch statistics_of(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state) {
  const int64_t rows = x.numel() / x.dim(-1);
  NIBBLE_CHECK(rows >= 2, "batch_norm: training needs at least 2 values per channel, input is ", x.shape());
  const ChannelMoments moments = channel_moments(x);
  update(state, moments, rows);
  std::vector<double> biased = moments.squares;
  for (double& v : biased) v /= static_cast<double>(rows);
  const std::vector<double> deviation = inverse_of(biased, state.epsilon);
  return {affine_of(gamma, beta, moments.mean, deviation), to_tensor(moments.mean, {}), to_tensor(deviation, {})};
}

Tensor train_input_gradient(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& mean,
                            const Tensor& inverse, const ChannelProducts& sums, const Tensor& dx) {
  const size_t channels = sums.total.size();
  const double rows = static_cast<double>(x.numel()) / static_cast<double>(channels);
  std::vector<float> factor(channels), shift(channels), slope(channels);
  for (size_t c = 0; c < channels; ++c) {
    const double r = values(inverse)[c], a = (gamma.defined() ? values(gamma)[c] : 1.0) * r;
    factor[c] = static_cast<float>(a);
    shift[c] = static_cast<float>(a * sums.total[c] / rows);
    slope[c] = static_cast<float>(a * r * r * sums.product[c] / rows);
  }
  channel_correct(x, dy, {mean.data<float>(), factor, shift, slope}, dx);
  return dx;
}

}  // namespace nibble::batch_statistics
