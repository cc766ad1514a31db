#include "layers/softmax.h"

namespace nibble {

Tensor Softmax::forward(Inputs in, const Pass&) {
  check_inputs(*this, in, 1);
  NIBBLE_CHECK(!would_record({in[0]}), "softmax: has no gradient; the loss (softmax cross entropy) contains it");
  return softmax(in[0]);
}

NIBBLE_REGISTER_LAYER(Softmax, "softmax",
                      "Probabilities of each row, for evaluation: training's cross entropy contains its own softmax.");

}  // namespace nibble
