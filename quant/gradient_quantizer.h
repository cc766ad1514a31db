#pragma once

#include <limits>

#include "layers/layer.h"

namespace nibble {

/// A layer with one input that is the identity forwards and quantizes the gradient that passes backwards through it:
/// what a rule's "grad" puts behind a layer.
class GradientQuantizer : public Layer {
 public:
  Facts facts() const final {
    constexpr float kAll = std::numeric_limits<float>::infinity();
    Facts facts;
    facts.pointwise = AffineClamp{{1}, {0}, {-kAll}, {kAll}};
    return facts;
  }
};

}  // namespace nibble
