#pragma once

#include "optim/elementwise.h"

namespace nibble {

/// Adam (Kingma and Ba, ICLR 2015, algorithm 1), at step t = 1, 2, ...:
///   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
///   w -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
/// Weight decay is coupled, g = dL/dw + weight_decay * w; or decoupled (Loshchilov and Hutter, ICLR 2019), then
/// w -= lr * weight_decay * w comes first. State: m, v, and t for all parameters together.
class Adam final : public ElementwiseOptimizer {
 public:
  struct Options : OptimOptions {
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
    bool decoupled = false;
    void fields(Fields& f);
  };
  explicit Adam(const Options& options);
  const Options& options() const override { return options_; }
  Json config() const override { return resolved(write_options(options_)); }
  void reset_state() override;
  void visit_state(const std::function<void(const std::string&, Tensor&)>& visit) override;

 private:
  void begin_step() override;
  void update(const Run& run) const override;

  Options options_;
  Tensor steps_;  ///< i64, one element
  float correct1_ = 1, correct2_ = 1;
};

}  // namespace nibble
