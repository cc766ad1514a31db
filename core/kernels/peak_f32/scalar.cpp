#include "core/kernels/peak_f32/peak_f32.h"

namespace nibble::peak_f32 {

Peak scalar;

int64_t scalar(int64_t rounds, float* io) {
  // As many as sixteen registers of four hold beside the two operands; compilers make vectors of them.
  constexpr int kChains = 48;
  const float a = io[0], b = io[1];
  float chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = static_cast<float>(i);
  for (int64_t r = 0; r < rounds; ++r)
    for (int i = 0; i < kChains; ++i) chain[i] = chain[i] * a + b;
  float sum = 0;
  for (int i = 0; i < kChains; ++i) sum += chain[i];
  io[2] = sum;
  return rounds * kChains;
}

}  // namespace nibble::peak_f32
