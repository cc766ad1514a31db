#pragma once

#include "apps/run_config.h"
#include "core/tensor.h"

namespace nibble {

/// The loss between the scores (N,K) of one output and the labels (N), as a config's "loss" chooses it.
class ClassLoss {
 public:
  /// Throws UsageError if options contradict each other.
  explicit ClassLoss(const LossOptions& options);
  Tensor operator()(const Tensor& scores, const Tensor& labels) const;
  /// The operation that computes it.
  const char* name() const { return hinge_ ? "squared_hinge" : "softmax_cross_entropy"; }

 private:
  bool hinge_;
  float label_smoothing_;
};

}  // namespace nibble
