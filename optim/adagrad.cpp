#include "optim/adagrad.h"

#include <cmath>

namespace nibble {

void Adagrad::Options::fields(Fields& f) {
  OptimOptions::fields(f);
  f("epsilon", epsilon, "added to the root of the sum of squared gradients", kPositive);
  f("initial_sum", initial_sum, "the sum of squared gradients before the first step", kNonNegative);
}

Adagrad::Adagrad(const Options& options)
    : ElementwiseOptimizer(options, {{"sum_squares", static_cast<float>(options.initial_sum)}}), options_(options) {}

void Adagrad::update(const Run& run) const {
  float* __restrict w = run.w;
  const float* __restrict g = run.g;
  float* __restrict h = run.state[0];
  const float lr = run.lr, decay = run.decay, epsilon = static_cast<float>(options_.epsilon);
  for (int64_t i = 0; i < run.n; ++i) {
    const float d = g[i] + decay * w[i];
    h[i] += d * d;
    w[i] -= lr * d / (std::sqrt(h[i]) + epsilon);
  }
}

NIBBLE_REGISTER_OPTIMIZER(Adagrad, "adagrad", "Adagrad: the rate of an element falls with its squared gradients.");

}  // namespace nibble
