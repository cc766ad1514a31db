#include <cmath>

#include "core/ops.h"
#include "core/parallel.h"
#include "tests/support/gradcheck.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::test;

namespace {

BatchNormState fresh_state(int64_t channels, float momentum = 0.9f, float epsilon = 1e-5f) {
  return {Tensor::zeros({channels}), Tensor::full({channels}, 1.0f), momentum, epsilon};
}

struct Stats {
  Doubles mean, variance;  // biased
};

Stats stats_of(const Doubles& x, size_t channels) {
  const size_t rows = x.size() / channels;
  Stats s{Doubles(channels), Doubles(channels)};
  for (size_t i = 0; i < x.size(); ++i) s.mean[i % channels] += x[i] / static_cast<double>(rows);
  for (size_t i = 0; i < x.size(); ++i) {
    s.variance[i % channels] += std::pow(x[i] - s.mean[i % channels], 2) / static_cast<double>(rows);
  }
  return s;
}

Doubles normalized(const Doubles& x, const Stats& s, const Doubles& gamma, const Doubles& beta, double epsilon) {
  Doubles y = x;
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t c = i % gamma.size();
    y[i] = (x[i] - s.mean[c]) / std::sqrt(s.variance[c] + epsilon) * gamma[c] + beta[c];
  }
  return y;
}

}  // namespace

TEST_CASE("batch_norm in training: normalises with the batch, and all three gradients agree with the definition") {
  for (const int64_t channels : {1, 3, 8, 13, 20}) {
    CAPTURE(channels);
    const auto op = [=](const std::vector<Tensor>& in) {
      return batch_norm_train(in[0], in[1], in[2], fresh_state(channels, 0.9f, 1e-3f));
    };
    const auto reference = [=](const std::vector<Doubles>& in) {
      return normalized(in[0], stats_of(in[0], static_cast<size_t>(channels)), in[1], in[2], 1e-3f);
    };
    CHECK(gradcheck(op, reference,
                    {normal_tensor({2, 3, 3, channels}, 1, 0.5f, 2), random_tensor({channels}, 2, 0.5f, 1.5f),
                     random_tensor({channels}, 3)}) == "");
  }
}

TEST_CASE("batch_norm in evaluation: normalises with the running statistics, which stay, and has its own gradient") {
  for (const int64_t channels : {2, 17}) {
    CAPTURE(channels);
    BatchNormState state = fresh_state(channels);
    state.mean.copy_from(random_tensor({channels}, 5));
    state.variance.copy_from(random_tensor({channels}, 6, 0.5f, 2));
    const Tensor mean = state.mean.clone(), variance = state.variance.clone();
    const auto op = [=](const std::vector<Tensor>& in) { return batch_norm_eval(in[0], in[1], in[2], state); };
    const auto reference = [=](const std::vector<Doubles>& in) {
      return normalized(in[0], {doubles_of(mean), doubles_of(variance)}, in[1], in[2], 1e-5f);
    };
    CHECK(gradcheck(op, reference,
                    {normal_tensor({3, 2, 2, channels}, 1), random_tensor({channels}, 2),
                     random_tensor({channels}, 3)}) == "");
    CHECK(same_bits(state.mean, mean));
    CHECK(same_bits(state.variance, variance));
  }
}

TEST_CASE("batch_norm: gamma and beta may be left out") {
  const Tensor x = normal_tensor({4, 3, 3, 5}, 1, 1, 3);
  const auto expected = normalized(doubles_of(x), stats_of(doubles_of(x), 5), Doubles(5, 1.0), Doubles(5), 1e-5f);
  CHECK(compare(batch_norm_train(x, {}, {}, fresh_state(5)), expected, 1e-6) == "");
  const auto op = [](const std::vector<Tensor>& in) { return batch_norm_train(in[0], {}, {}, fresh_state(5)); };
  const auto reference = [](const std::vector<Doubles>& in) {
    return normalized(in[0], stats_of(in[0], 5), Doubles(5, 1.0), Doubles(5), 1e-5f);
  };
  CHECK(gradcheck(op, reference, {x}) == "");
}

TEST_CASE("batch_norm: running statistics keep `momentum` of the old value and take the unbiased variance") {
  const Tensor x = normal_tensor({2, 3, 2, 4}, 9, 3, 2);
  const Stats s = stats_of(doubles_of(x), 4);
  BatchNormState state = fresh_state(4, 0.75f);
  state.mean.copy_from(Tensor::full({4}, 10));
  state.variance.copy_from(Tensor::full({4}, 20));
  batch_norm_train(x, {}, {}, state);
  for (size_t c = 0; c < 4; ++c) {
    CHECK(state.mean.data<float>()[c] == doctest::Approx(0.75 * 10 + 0.25 * s.mean[c]).epsilon(1e-6));
    CHECK(state.variance.data<float>()[c] == doctest::Approx(0.75 * 20 + 0.25 * s.variance[c] * 12 / 11).epsilon(1e-6));
  }
}

TEST_CASE("batch_norm: a mean far from zero does not spoil the variance") {
  const Tensor x = normal_tensor({16, 16, 16, 3}, 4, 1000, 0.25f);
  const Stats s = stats_of(doubles_of(x), 3);
  const BatchNormState state = fresh_state(3, 0);
  batch_norm_train(x, {}, {}, state);
  for (size_t c = 0; c < 3; ++c) {
    CHECK(state.mean.data<float>()[c] == doctest::Approx(s.mean[c]).epsilon(1e-7));
    CHECK(state.variance.data<float>()[c] == doctest::Approx(s.variance[c] * 4096 / 4095).epsilon(1e-5));
  }
}

TEST_CASE("batch_norm: a constant channel gives beta and no NaN") {
  Tensor x = Tensor::full({2, 2, 2, 3}, 7.0f).set_requires_grad();
  const Tensor y = batch_norm_train(x, Tensor::full({3}, 2.0f), Tensor::full({3}, 0.5f), fresh_state(3));
  for (const float v : values_of(y)) CHECK(v == doctest::Approx(0.5));
  backward(sum(y));
  for (const float g : values_of(x.grad())) CHECK(g == doctest::Approx(0));
}

TEST_CASE("batch_norm: outputs, statistics and gradients have the same bits with any number of threads") {
  const Tensor x = normal_tensor({9, 16, 16, 24}, 1, 0.1f), weight = random_tensor(x.shape(), 2);
  struct Result {
    Tensor y, mean, variance, dx, dgamma, dbeta;
  };
  const auto run = [&](int n) {
    set_threads(n);
    const Tensor leaf = x.clone().set_requires_grad();
    const Tensor gamma = random_tensor({24}, 3).set_requires_grad(), beta = random_tensor({24}, 4).set_requires_grad();
    const BatchNormState state = fresh_state(24);
    const Tensor y = batch_norm_train(leaf, gamma, beta, state);
    backward(weighted_sum(y, weight));
    return Result{y, state.mean, state.variance, leaf.grad(), gamma.grad(), beta.grad()};
  };
  const int before = threads();
  const Result one = run(1);
  for (const int n : {2, 3, 5}) {
    CAPTURE(n);
    const Result other = run(n);
    CHECK(same_bits(other.y, one.y));
    CHECK(same_bits(other.mean, one.mean));
    CHECK(same_bits(other.variance, one.variance));
    CHECK(same_bits(other.dx, one.dx));
    CHECK(same_bits(other.dgamma, one.dgamma));
    CHECK(same_bits(other.dbeta, one.dbeta));
  }
  set_threads(before);
}

TEST_CASE("batch_norm_affine: is what batch_norm_eval computes, bit for bit") {
  BatchNormState state = fresh_state(5);
  state.mean.copy_from(random_tensor({5}, 5));
  state.variance.copy_from(random_tensor({5}, 6, 0.5f, 2));
  const Tensor x = normal_tensor({2, 3, 3, 5}, 7), gamma = random_tensor({5}, 8), beta = random_tensor({5}, 9);
  const Tensor y = batch_norm_eval(x, gamma, beta, state);
  const ChannelAffine affine = batch_norm_affine(gamma, beta, state);
  for (size_t i = 0; i < y.data<float>().size(); ++i) {
    const float product = affine.a[i % 5] * x.data<float>()[i];
    CHECK(y.data<float>()[i] == product + affine.b[i % 5]);
  }
}

TEST_CASE("batch_norm: wrong arguments are named") {
  const Tensor x = Tensor::zeros({2, 4, 4, 3});
  CHECK_THROWS_WITH_AS(batch_norm_train(x, Tensor::zeros({4}), {}, fresh_state(3)),
                       "batch_norm: gamma must have 3 f32 elements, got f32[4] (input [2,4,4,3])", Error);
  CHECK_THROWS_AS(batch_norm_eval(x, {}, {}, fresh_state(4)), Error);
  CHECK_THROWS_AS(batch_norm_eval(x, {}, {}, BatchNormState{}), Error);
  CHECK_THROWS_WITH_AS(batch_norm_train(Tensor::zeros({1, 1, 1, 3}), {}, {}, fresh_state(3)),
                       "batch_norm: training needs at least 2 values per channel, input is [1,1,1,3]", Error);
}
