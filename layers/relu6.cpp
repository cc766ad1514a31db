#include "layers/relu6.h"

namespace nibble {

Tensor Relu6::forward(Inputs in, const Pass&) {
  check_inputs(*this, in, 1);
  return relu6(in[0]);
}

Facts Relu6::facts() const {
  Facts facts;
  facts.pointwise = AffineClamp{{1}, {0}, {0}, {6}};
  return facts;
}

NIBBLE_REGISTER_LAYER(Relu6, "relu6", "min(max(x, 0), 6).");

}  // namespace nibble
