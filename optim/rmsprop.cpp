#include "optim/rmsprop.h"

#include <cmath>

namespace nibble {

void RmsProp::Options::fields(Fields& f) {
  OptimOptions::fields(f);
  f("rho", rho, "fraction of the mean squared gradient that every step keeps", kFraction);
  f("momentum", momentum, "fraction of the velocity that every step keeps", {0, 1});
  f("epsilon", epsilon, "added to the mean squared gradient under the root", kPositive);
  f("initial_mean_square", initial_mean_square, "the mean squared gradient before the first step", kNonNegative);
}

RmsProp::RmsProp(const Options& options)
    : ElementwiseOptimizer(options, {{"mean_square", static_cast<float>(options.initial_mean_square)}, {"momentum"}}),
      options_(options) {}

void RmsProp::update(const Run& run) const {
  float* __restrict w = run.w;
  const float* __restrict g = run.g;
  float* __restrict ms = run.state[0];
  float* __restrict v = run.state[1];
  const float lr = run.lr, decay = run.decay;
  const auto rho = static_cast<float>(options_.rho), gain = static_cast<float>(1 - options_.rho);
  const auto mu = static_cast<float>(options_.momentum), epsilon = static_cast<float>(options_.epsilon);
  for (int64_t i = 0; i < run.n; ++i) {
    const float d = g[i] + decay * w[i];
    ms[i] = rho * ms[i] + gain * d * d;
    v[i] = mu * v[i] + lr * d / std::sqrt(ms[i] + epsilon);
    w[i] -= v[i];
  }
}

NIBBLE_REGISTER_OPTIMIZER(RmsProp, "rmsprop", "RMSProp in TensorFlow's form, epsilon under the root.");

}  // namespace nibble
