#include <arm_neon.h>

#include <cstdint>

#include "quant/kernels/int8_gemm/int8_gemm.h"

namespace nibble::int8 {
namespace {

#include "quant/kernels/int8_gemm/neon.inc"

constexpr Operand kOperand = Operand::s8_s8;
constexpr int kHalf1 = 6, kHalf2 = 3;  // 24 registers of accumulators of 32
using X = int8x16_t;
using W = int8x16_t;
// Sums of two neighbouring products of channels 0 and 1, and of 2 and 3.
struct A {
  V lo, hi;
};
A zero_acc() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
V total(A a) { return vpaddq_s32(a.lo, a.hi); }
void hold(A& a) { __asm__ volatile("" : "+w"(a.lo), "+w"(a.hi)); }
X spread(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(v));
}
W load_w(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
// A product of two s8 fits 16 bits; a sum of two does not (-128 * -128 twice), so each is widened.
A dot(A a, X x, W w) {
  return {vpadalq_s16(a.lo, vmull_s8(vget_low_s8(x), vget_low_s8(w))), vpadalq_s16(a.hi, vmull_high_s8(x, w))};
}

#include "quant/kernels/int8_gemm/tile.inc"

}  // namespace

const Kernels& gemm_neon();
const Kernels& gemm_neon() { return kTable; }

}  // namespace nibble::int8
