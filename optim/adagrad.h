#pragma once

#include "optim/elementwise.h"

namespace nibble {

/// Adagrad (Duchi, Hazan and Singer, JMLR 2011), diagonal form:
///   h = h + g^2,  w -= lr * g / (sqrt(h) + epsilon)
/// with g = dL/dw + weight_decay * w. State: h, which starts at initial_sum.
class Adagrad final : public ElementwiseOptimizer {
 public:
  struct Options : OptimOptions {
    double epsilon = 1e-10, initial_sum = 0;
    void fields(Fields& f);
  };
  explicit Adagrad(const Options& options);
  const Options& options() const override { return options_; }
  Json config() const override { return resolved(write_options(options_)); }

 private:
  void update(const Run& run) const override;

  Options options_;
};

}  // namespace nibble
