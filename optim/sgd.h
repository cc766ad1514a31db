#pragma once

#include "optim/elementwise.h"

namespace nibble {

/// Stochastic gradient descent with momentum mu and coupled weight decay, g = dL/dw + weight_decay * w.
///   pytorch: v = mu v + g,    w -= lr v,  or with nesterov  w -= lr (g + mu v)
///   caffe:   v = mu v + lr g, w -= v,     or with nesterov  w -= lr g + mu v
/// The two differ only when the learning rate changes. State: v, if mu is not 0.
class Sgd final : public ElementwiseOptimizer {
 public:
  struct Options : OptimOptions {
    double momentum = 0;
    bool nesterov = false;
    std::string form = "pytorch";
    void fields(Fields& f);
  };
  explicit Sgd(const Options& options);
  const Options& options() const override { return options_; }
  Json config() const override { return resolved(write_options(options_)); }

 private:
  void update(const Run& run) const override;

  Options options_;
  bool caffe_;
};

}  // namespace nibble
