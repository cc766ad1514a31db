#include "layers/relu.h"

#include <limits>

namespace nibble {

Tensor Relu::forward(Inputs in, const Pass&) {
  check_inputs(*this, in, 1);
  return relu(in[0]);
}

Facts Relu::facts() const {
  Facts facts;
  facts.pointwise = AffineClamp{{1}, {0}, {0}, {std::numeric_limits<float>::infinity()}};
  return facts;
}

NIBBLE_REGISTER_LAYER(Relu, "relu", "max(x, 0).");

}  // namespace nibble
