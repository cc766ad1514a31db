#include "layers/global_avg_pool.h"

namespace nibble {

Tensor GlobalAvgPool::forward(Inputs in, const Pass&) {
  check_inputs(*this, in, 1);
  return global_avg_pool(in[0]);
}

NIBBLE_REGISTER_LAYER(GlobalAvgPool, "global_avg_pool", "Mean over all pixels: (N, H, W, C) -> (N, C).");

}  // namespace nibble
