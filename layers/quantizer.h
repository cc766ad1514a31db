#pragma once

#include "layers/layer.h"

namespace nibble {

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
  /// Phases of training that it goes through (incremental methods); the schedule must have as many.
  virtual int phases() const { return 1; }
  /// snaps_to = grid(), unless that is Real.
  Facts facts() const final {
    Facts facts;
    if (Grid g = grid(); !std::holds_alternative<Real>(g)) facts.snaps_to = std::move(g);
    return facts;
  }
};

}  // namespace nibble
