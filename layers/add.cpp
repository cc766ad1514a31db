#include "layers/add.h"

namespace nibble {

Tensor Add::forward(Inputs in, const Pass&) {
  NIBBLE_CHECK(in.size() >= 2, "add: expected two or more inputs, got ", in.size());
  Tensor y = add(in[0], in[1]);
  for (size_t i = 2; i < in.size(); ++i) y = add(y, in[i]);
  return y;
}

NIBBLE_REGISTER_LAYER(Add, "add", "Sum of two or more tensors of equal shape.");

}  // namespace nibble
