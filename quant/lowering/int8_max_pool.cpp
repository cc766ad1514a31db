#include "quant/lowering/int8_max_pool.h"

namespace nibble {

Tensor Int8MaxPool::compute(Inputs in) {
  check_lowered_inputs(*this, in, 1, DType::u8);
  const Tensor& x = in[0];
  const int8::Int8Pool pool(pool_spec(options_.on(x.shape()), false));
  const int64_t h = pool.output_h(x.dim(1)), w = pool.output_w(x.dim(2));
  Tensor y = new_output(*this, {x.dim(0), h, w, x.dim(3)});
  pool.run(x.data<uint8_t>().data(), x.dim(0), x.dim(1), x.dim(2), x.dim(3), y.mutable_data<uint8_t>().data());
  return options_.global ? y.view({x.dim(0), x.dim(3)}) : y;
}

NIBBLE_REGISTER_LAYER(Int8MaxPool, "int8_max_pool", "Lowered: the largest code of each window.");

}  // namespace nibble
