#include <arm_neon.h>

#include <cstdint>

#include "core/kernels/conv_f32/conv_f32.h"

namespace nibble::conv_f32 {
namespace {

using V = float32x4_t;
struct Part {
  int64_t n;
};
constexpr int64_t kLanes = 4;
constexpr int kHalf1 = 12, kHalf2 = 6;  // 24 accumulators of 32 registers
constexpr int kOuter1 = 14, kOuter2 = 12, kOuter3 = 8;

V zero() { return vdupq_n_f32(0); }
V load(const float* p) { return vld1q_f32(p); }
void store(float* p, V v) { vst1q_f32(p, v); }
V add(V a, V b) { return vaddq_f32(a, b); }
V sub(V a, V b) { return vsubq_f32(a, b); }
V value(float v) { return vdupq_n_f32(v); }
V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
V spread(const float* p) { return vld1q_dup_f32(p); }
Part part(int64_t n) { return {n < kLanes ? n : kLanes}; }
V load_part(const float* p, Part m) {
  if (m.n == kLanes) return load(p);
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < m.n; ++i) lanes[i] = p[i];
  return load(lanes);
}
void store_part(float* p, V v, Part m) {
  if (m.n == kLanes) return store(p, v);
  float lanes[kLanes];
  store(lanes, v);
  for (int64_t i = 0; i < m.n; ++i) p[i] = lanes[i];
}

#include "core/kernels/conv_f32/tile.inc"

}  // namespace

const Kernels& neon();
const Kernels& neon() { return kTable; }

}  // namespace nibble::conv_f32
