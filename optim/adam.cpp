#include "optim/adam.h"

#include <cmath>

namespace nibble {

void Adam::Options::fields(Fields& f) {
  OptimOptions::fields(f);
  f("beta1", beta1, "fraction of the mean gradient that every step keeps", {0, 0.999999});
  f("beta2", beta2, "fraction of the mean squared gradient that every step keeps", {0, 0.99999999});
  f("epsilon", epsilon, "added to the root of the mean squared gradient", kPositive);
  f("decoupled", decoupled, "weight decay shrinks the weights directly (AdamW) instead of adding to the gradient");
}

Adam::Adam(const Options& options)
    : ElementwiseOptimizer(options, {{"first_moment"}, {"second_moment"}}),
      options_(options),
      steps_(Tensor::zeros({1}, DType::i64)) {}

void Adam::visit_state(const std::function<void(const std::string&, Tensor&)>& visit) {
  ElementwiseOptimizer::visit_state(visit);
  visit("steps", steps_);
}

void Adam::reset_state() {
  ElementwiseOptimizer::reset_state();
  steps_.mutable_data<int64_t>()[0] = 0;
}

void Adam::begin_step() {
  const auto t = static_cast<double>(++steps_.mutable_data<int64_t>()[0]);
  correct1_ = static_cast<float>(1 / (1 - std::pow(options_.beta1, t)));
  correct2_ = static_cast<float>(1 / (1 - std::pow(options_.beta2, t)));
}

void Adam::update(const Run& run) const {
  float* __restrict w = run.w;
  const float* __restrict g = run.g;
  float* __restrict m = run.state[0];
  float* __restrict v = run.state[1];
  const auto beta1 = static_cast<float>(options_.beta1), beta2 = static_cast<float>(options_.beta2);
  const auto gain1 = static_cast<float>(1 - options_.beta1), gain2 = static_cast<float>(1 - options_.beta2);
  const auto epsilon = static_cast<float>(options_.epsilon);
  const float lr = run.lr * correct1_, correct2 = correct2_;
  const float coupled = options_.decoupled ? 0.f : run.decay;
  const float keep = options_.decoupled ? 1.f - run.lr * run.decay : 1.f;
  for (int64_t i = 0; i < run.n; ++i) {
    const float d = g[i] + coupled * w[i];
    m[i] = beta1 * m[i] + gain1 * d;
    v[i] = beta2 * v[i] + gain2 * d * d;
    w[i] = keep * w[i] - lr * m[i] / (std::sqrt(correct2 * v[i]) + epsilon);
  }
}

NIBBLE_REGISTER_OPTIMIZER(Adam, "adam", "Adam, or AdamW with \"decoupled\": true.");

}  // namespace nibble
