#pragma once

#include "optim/elementwise.h"

namespace nibble {

/// RMSProp as in TensorFlow, epsilon under the root (the integer-only paper's protocol uses epsilon = 1):
///   ms = rho ms + (1 - rho) g^2,  v = momentum v + lr g / sqrt(ms + epsilon),  w -= v
/// with g = dL/dw + weight_decay * w. State: ms, which starts at initial_mean_square, and v.
class RmsProp final : public ElementwiseOptimizer {
 public:
  struct Options : OptimOptions {
    double rho = 0.9, momentum = 0.9, epsilon = 1.0, initial_mean_square = 1.0;
    void fields(Fields& f);
  };
  explicit RmsProp(const Options& options);
  const Options& options() const override { return options_; }
  Json config() const override { return resolved(write_options(options_)); }

 private:
  void update(const Run& run) const override;

  Options options_;
};

}  // namespace nibble
