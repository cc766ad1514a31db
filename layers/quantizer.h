#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "layers/layer.h"

namespace nibble {

/// What a quantizer promises beyond its grid; the conformance battery in tests/quant holds it to that.
struct Claims {
  /// A level that is quantized again on the same grid stays: output and input are in the same units.
  bool idempotent = true;
  /// q(a x) = a q(x) for every a > 0, of quantizers built afresh that learn what they learn from their first x.
  bool scale_equivariant = false;
};

/// A function of a whole tensor, its elements in order, in double.
using Surrogate = std::function<std::vector<double>(std::span<const double> x)>;

/// What is wrong, each as "expected ..., found ..."; empty if nothing is.
using Complaints = std::vector<std::string>;

/// A layer with one input whose output lies on a grid: a node of the graph (activations), or the weight slot of a
/// conv2d or linear layer.
class Quantizer : public Layer {
 public:
  /// The grid the output lies on. Without x it must hold for all data, or be Real; with x (a weight tensor) it may
  /// depend on it.
  virtual Grid grid(const Tensor& x = {}) const = 0;
  /// In a weight slot, after every optimizer step: keeps the weight itself within its bounds.
  virtual void constrain(const Tensor&) {}
  /// In a weight slot: which elements of the weight are still trained (ParamTraits::mask).
  /// One entry per element, in any shape.
  virtual Tensor mask() const { return {}; }
  /// In a weight slot: factor of the learning rate of the weight (ParamTraits::lr_factor).
  virtual float lr_factor(const Tensor&) const { return 1; }
  /// In a weight slot: whether the gradient is passed for every element, as the range of the levels is that of the
  /// weight, up to the half step by which rounding the zero point moves it.
  virtual bool passes_all() const { return false; }
  /// As the quantizer of a layer's input: what the layer's output is to pass through, a layer with two inputs, that
  /// output and what this quantizer got; null for nothing. Throws Error if it has none for such a layer.
  virtual std::shared_ptr<Layer> output_scale(const GemmForm&) const { return nullptr; }
  /// What the method promises of the values that evaluation uses in place of a finished weight, beyond their being
  /// levels of a sound grid (which audit() in quant/audit.h checks for all).
  virtual Complaints audit_values(const Tensor&) const { return {}; }
  /// What the method promises of its own state when training or calibration has ended, and of the weight as it is
  /// stored (undefined for activations).
  virtual Complaints audit_state(const Tensor&) const { return {}; }
  /// Phases of training that it goes through (incremental methods); the schedule must have as many.
  virtual int phases() const { return 1; }
  virtual Claims claims() const { return {}; }
  /// What the backward pass differentiates in place of the step function: dL/dx is the gradient of the sum of
  /// dy[i] * surrogate(x)[i] wherever that has one. To be asked after a training pass with `x`; everything that the
  /// method takes as a constant is what that pass made it. Empty if the quantizer does not declare it.
  virtual Surrogate surrogate(const Tensor& x) const {
    static_cast<void>(x);
    return {};
  }
  /// snaps_to = grid(), unless that is Real; unready = the first complaint of audit_state().
  Facts facts() const final {
    Facts facts;
    if (Grid g = grid(); !std::holds_alternative<Real>(g)) facts.snaps_to = std::move(g);
    if (const Complaints wrong = audit_state({}); !wrong.empty()) facts.unready = wrong.front();
    return facts;
  }
};

}  // namespace nibble
