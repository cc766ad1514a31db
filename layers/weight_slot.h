#pragma once

#include <memory>

#include "layers/quantizer.h"

namespace nibble {

/// The place in a conv2d or linear layer where a weight quantizer sits; empty means the weight is used as it is.
class WeightSlot {
 public:
  bool empty() const { return quantizer_ == nullptr; }
  /// Throws Error if `layer` is no Quantizer.
  void set(const std::shared_ptr<Layer>& layer);
  /// Builds the quantizer from an object with a "type"; null leaves the slot as it is.
  void set(const Config& config);
  /// What rebuilds the quantizer; null if there is none.
  Config config() const;
  Quantizer* get() const { return quantizer_.get(); }
  /// The weight as the layer uses it; records.
  Tensor apply(const Tensor& weight, const Pass& pass) const;
  /// Quantizer::passes_all(); true of an empty slot.
  bool passes_all() const;
  /// The grid the applied weight lies on.
  Grid grid(const Tensor& weight) const;
  void initialize(const Rng& rng) const;
  /// How the weight is trained.
  ParamTraits traits(const Tensor& weight) const;
  /// To be called after every optimizer step.
  void after_update(const Tensor& weight) const;
  /// The quantizer's state, under "weight_quantizer.".
  void visit(StateVisitor& visitor) const;

 private:
  std::shared_ptr<Quantizer> quantizer_;
};

}  // namespace nibble
