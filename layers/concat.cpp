#include "layers/concat.h"

namespace nibble {

Tensor Concat::forward(Inputs in, const Pass&) {
  NIBBLE_CHECK(!in.empty(), "concat: expected one or more inputs, got none");
  return concat(in);
}

NIBBLE_REGISTER_LAYER(Concat, "concat", "Joins the channels (last axis) of one or more tensors, in order.");

}  // namespace nibble
