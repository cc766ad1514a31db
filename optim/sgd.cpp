#include "optim/sgd.h"

namespace nibble {

void Sgd::Options::fields(Fields& f) {
  OptimOptions::fields(f);
  f("momentum", momentum, "fraction of the velocity that every step keeps", {0, 1});
  f("nesterov", nesterov, "look ahead along the velocity");
  f.choice("form", form, {"pytorch", "caffe"}, "whether the velocity adds gradients (pytorch) or steps (caffe)");
}

Sgd::Sgd(const Options& options)
    : ElementwiseOptimizer(options, options.momentum != 0 ? std::vector<Slot>{{"momentum"}} : std::vector<Slot>{}),
      options_(options),
      caffe_(options.form == "caffe") {
  NIBBLE_CHECK(!options_.nesterov || options_.momentum > 0, "sgd: nesterov needs a momentum above 0");
}

void Sgd::update(const Run& run) const {
  float* __restrict w = run.w;
  const float* __restrict g = run.g;
  float* __restrict v = run.state[0];
  const float lr = run.lr, decay = run.decay;
  if (options_.momentum == 0) {
    for (int64_t i = 0; i < run.n; ++i) w[i] -= lr * (g[i] + decay * w[i]);
    return;
  }
  const auto mu = static_cast<float>(options_.momentum);
  // The velocity holds gradients or steps: `in` scales what enters it, `out` what leaves it.
  const float in = caffe_ ? lr : 1.f, out = caffe_ ? 1.f : lr;
  if (options_.nesterov) {
    for (int64_t i = 0; i < run.n; ++i) {
      const float d = in * (g[i] + decay * w[i]);
      v[i] = mu * v[i] + d;
      w[i] -= out * (d + mu * v[i]);
    }
  } else {
    for (int64_t i = 0; i < run.n; ++i) {
      v[i] = mu * v[i] + in * (g[i] + decay * w[i]);
      w[i] -= out * v[i];
    }
  }
}

NIBBLE_REGISTER_OPTIMIZER(Sgd, "sgd", "Stochastic gradient descent with momentum.");

}  // namespace nibble
