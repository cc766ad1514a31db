#include "layers/flatten.h"

namespace nibble {

Tensor Flatten::forward(Inputs in, const Pass&) {
  check_inputs(*this, in, 1);
  return flatten(in[0]);
}

NIBBLE_REGISTER_LAYER(Flatten, "flatten", "(N, H, W, C) -> (N, C*H*W), features in PyTorch's order (c, h, w).");

}  // namespace nibble
