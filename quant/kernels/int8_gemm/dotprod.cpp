#include <arm_neon.h>

#include <cstdint>

#include "quant/kernels/int8_gemm/int8_gemm.h"

namespace nibble::int8 {
namespace {

#include "quant/kernels/int8_gemm/neon.inc"

constexpr Operand kOperand = Operand::s8_s8;
constexpr int kHalf1 = 10, kHalf2 = 5;  // 20 accumulators of 32 registers
using A = int32x4_t;
using X = int8x16_t;
using W = int8x16_t;
A zero_acc() { return vdupq_n_s32(0); }
V total(A a) { return a; }
void hold(A& a) { __asm__ volatile("" : "+w"(a)); }
X spread(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(v));
}
W load_w(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
A dot(A a, X x, W w) { return vdotq_s32(a, x, w); }

#include "quant/kernels/int8_gemm/tile.inc"

}  // namespace

const Kernels& gemm_dotprod();
const Kernels& gemm_dotprod() { return kTable; }

}  // namespace nibble::int8
