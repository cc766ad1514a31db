#include <arm_neon.h>

#include "core/kernels/peak_f32/peak_f32.h"

namespace nibble::peak_f32 {

Peak neon;

int64_t neon(int64_t rounds, float* io) {
  constexpr int kChains = 24, kLanes = 4;
  const float32x4_t a = vdupq_n_f32(io[0]), b = vdupq_n_f32(io[1]);
  float32x4_t chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = vdupq_n_f32(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) chain[i] = vfmaq_f32(b, chain[i], a);
  }
  float sum = 0, lanes[kLanes];
  for (int i = 0; i < kChains; ++i) {
    vst1q_f32(lanes, chain[i]);
    for (int j = 0; j < kLanes; ++j) sum += lanes[j];
  }
  io[2] = sum;
  return rounds * kChains * kLanes;
}

}  // namespace nibble::peak_f32
