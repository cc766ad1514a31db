#include "layers/quantized_ahead.h"

#include <utility>

namespace nibble {

void QuantizedAhead::leave(const Tensor& x, const Tensor& result) {
  input_ = x.id();
  result_ = result;
}

Tensor QuantizedAhead::forward(Inputs in, const Pass& pass) {
  const Tensor result = std::exchange(result_, {});
  if (result.defined() && in.size() == 1 && in[0].id() == input_) return result;
  return quantizer_->forward(in, pass);
}

}  // namespace nibble
