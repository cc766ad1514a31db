#include <arm_neon.h>

#include <cstdint>

#include "quant/kernels/bit_gemm/bit_gemm.h"

namespace nibble::bits {
namespace {

using V = int32x4_t;
using F = float32x4_t;
using S = int16x8_t;
using W = uint8x16_t;
using B = uint8x16_t;
constexpr int64_t kLanes = 4;

V load_v(const int32_t* p) { return vld1q_s32(p); }
V spread_v(int32_t v) { return vdupq_n_s32(v); }
V add(V a, V b) { return vaddq_s32(a, b); }
V mul(V a, V b) { return vmulq_s32(a, b); }
V shift_left(V a, int count) { return vshlq_s32(a, vdupq_n_s32(count)); }
V bit_xor(V a, V b) { return veorq_s32(a, b); }
V clamp_v(V v, V lo, V hi) { return vminq_s32(vmaxq_s32(v, lo), hi); }
F to_f(V v) { return vcvtq_f32_s32(v); }
V nearest(F v) { return vcvtnq_s32_f32(v); }
F load_f(const float* p) { return vld1q_f32(p); }
F spread_f(float v) { return vdupq_n_f32(v); }
F add_f(F a, F b) { return vaddq_f32(a, b); }
F mul_f(F a, F b) { return vmulq_f32(a, b); }
F clamp_f(F v, F lo, F hi) { return vminq_f32(vmaxq_f32(v, lo), hi); }
V count_ge(V level, V a, V cut) { return vsubq_s32(level, vreinterpretq_s32_u32(vcgeq_s32(a, cut))); }
V count_gt(V level, F r, F t) { return vsubq_s32(level, vreinterpretq_s32_u32(vcgtq_f32(r, t))); }

void store_v(int32_t* p, V v, int64_t n) {
  if (n >= kLanes) return vst1q_s32(p, v);
  int32_t buffer[kLanes];
  vst1q_s32(buffer, v);
  for (int64_t i = 0; i < n; ++i) p[i] = buffer[i];
}
F load_first_f(const float* p, int64_t n) {
  if (n >= kLanes) return load_f(p);
  float buffer[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) buffer[i] = p[i];
  return load_f(buffer);
}
void store_f(float* p, F v, int64_t n) {
  if (n >= kLanes) return vst1q_f32(p, v);
  float buffer[kLanes];
  vst1q_f32(buffer, v);
  for (int64_t i = 0; i < n; ++i) p[i] = buffer[i];
}
/// The first n codes, through 16 codes or as they are.
void store_first(uint8_t* p, uint8x16_t bytes, int64_t n, const uint8_t* codes) {
  if (codes) bytes = vqtbl1q_u8(vld1q_u8(codes), bytes);
  if (n >= 16) return vst1q_u8(p, bytes);
  uint8_t buffer[16];
  vst1q_u8(buffer, bytes);
  for (int64_t i = 0; i < n; ++i) p[i] = buffer[i];
}

S narrow(V a, V b) { return vcombine_s16(vqmovn_s32(a), vqmovn_s32(b)); }
S in_order(S packed) { return packed; }
S spread_s(int32_t v) { return vdupq_n_s16(static_cast<int16_t>(v)); }
S add_s(S a, S b) { return vaddq_s16(a, b); }
S mul_s(S a, S b) { return vmulq_s16(a, b); }
S xor_s(S a, S b) { return veorq_s16(a, b); }
S shift_left_s(S a, int count) { return vshlq_s16(a, vdupq_n_s16(static_cast<int16_t>(count))); }
S count_ge_s(S level, S a, S cut) { return vsubq_s16(level, vreinterpretq_s16_u16(vcgeq_s16(a, cut))); }

template <bool kInOrder>
void store_levels(uint8_t* p, const S (&level)[2], int64_t n, const uint8_t* codes) {
  store_first(p, vcombine_u8(vqmovun_s16(level[0]), vqmovun_s16(level[1])), n, codes);
}
template <bool kInOrder>
void store_either(uint8_t* p, const S (&a)[2], const S (&cut)[2], int64_t n, const uint8_t* codes) {
  const S level[2] = {count_ge_s(spread_s(0), a[0], cut[0]), count_ge_s(spread_s(0), a[1], cut[1])};
  store_levels<kInOrder>(p, level, n, codes);
}
template <int NV>
void store_codes(uint8_t* p, V (&v)[NV], int64_t n, const uint8_t* codes) {
  const V zero = vdupq_n_s32(0);
  const S level[2] = {narrow(v[0], NV > 1 ? v[NV > 1 ? 1 : 0] : zero),
                      narrow(NV > 2 ? v[NV > 2 ? 2 : 0] : zero, NV > 3 ? v[NV > 3 ? 3 : 0] : zero)};
  store_levels<true>(p, level, n, codes);
}

#include "quant/kernels/bit_gemm/epilogue.inc"

using C = uint8x16_t;
constexpr int64_t kCounts = 31;  // of at most 8 bits a byte
constexpr int kPixels = 4, kVectors = 4;
W load_w(const uint8_t* p) { return vld1q_u8(p); }
W spread_x(const uint8_t* p) { return vreinterpretq_u8_u32(vdupq_n_u32(word<uint32_t>(p))); }
C no_count() { return vdupq_n_u8(0); }
C count(C c, W x, W w) { return vaddq_u8(c, vcntq_u8(vandq_u8(x, w))); }
V total(C c) { return vreinterpretq_s32_u32(vpaddlq_u16(vpaddlq_u8(c))); }

/// The first n of 16 codes, and zeros.
uint8x16_t load_codes(const uint8_t* x, int64_t n) {
  if (n >= 16) return vld1q_u8(x);
  uint8_t buffer[16] = {};
  for (int64_t i = 0; i < n; ++i) buffer[i] = x[i];
  return vld1q_u8(buffer);
}

/// Bit j of 16 codes.
uint16_t plane(uint8x16_t codes, int j) {
  constexpr uint8_t kBits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t set = vandq_u8(vtstq_u8(codes, vdupq_n_u8(static_cast<uint8_t>(1 << j))), vld1q_u8(kBits));
  return static_cast<uint16_t>(vaddv_u8(vget_low_u8(set)) | vaddv_u8(vget_high_u8(set)) << 8);
}

void pack(const Pixels& p) {
  for (int64_t i = 0; i < p.pixels; ++i) {
    const uint8_t* x = p.x + i * p.x_pitch;
    uint8_t* to = p.to + i * p.to_pitch;
    if (p.sums)
      for (int j = 0; j < p.a_bits; ++j) p.sums[j * p.sum_plane + i] = 0;
    for (int64_t c = 0; c < p.channels; c += 16) {
      const uint8x16_t codes = load_codes(x + c, p.channels - c);
      for (int j = 0; j < p.a_bits; ++j) {
        const uint16_t bits = plane(codes, j);
        __builtin_memcpy(to + j * p.to_plane + c / 8, &bits, 2);
        if (p.sums) p.sums[j * p.sum_plane + i] += __builtin_popcount(bits);
      }
    }
  }
}

#include "quant/kernels/bit_gemm/planes.inc"

using T = uint8x16_t;
constexpr int kGroup = 4;
constexpr int kTablePixels = 4;
B no_bytes() { return vdupq_n_u8(0); }
B load_b(const uint8_t* p) { return vld1q_u8(p); }
S pairs(B b) { return vreinterpretq_s16_u8(b); }
S odd(B b) { return vreinterpretq_s16_u16(vshrq_n_u16(vreinterpretq_u16_u8(b), 8)); }
S less_odd(S p, S o) { return vsubq_s16(p, vshlq_n_s16(o, 8)); }
V low(S h) { return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vreinterpretq_u16_s16(h)))); }
V high(S h) { return vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(vreinterpretq_u16_s16(h)))); }
T load_table(const uint8_t* p) { return vld1q_u8(p); }
B look_up(B sum, T table, B index) { return vaddq_u8(sum, vqtbl1q_u8(table, index)); }

void tabulate(const Pixels& p) {
  constexpr uint8_t kSubsets[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const uint8x16_t subsets = vld1q_u8(kSubsets);
  uint8x16_t has[4];
  for (int b = 0; b < 4; ++b) has[b] = vtstq_u8(subsets, vdupq_n_u8(static_cast<uint8_t>(1 << b)));
  const auto mask = static_cast<uint8_t>((1 << p.a_bits) - 1);
  for (int64_t i = 0; i < p.pixels; ++i) {
    const uint8_t* x = p.x + i * p.x_pitch;
    uint8_t* to = p.to + i * p.to_pitch;
    int32_t sum = 0;
    for (int64_t c = 0; c < p.channels; c += 4, to += 16) {
      uint8x16_t table = vdupq_n_u8(0);
      for (int64_t b = 0; b < least(p.channels - c, 4); ++b) {
        const auto code = static_cast<uint8_t>(x[c + b] & mask);
        table = vaddq_u8(table, vandq_u8(vdupq_n_u8(code), has[b]));
        sum += code;
      }
      vst1q_u8(to, table);
    }
    if (p.sums) p.sums[i] = sum;
  }
}

constexpr int kRegisters = 32;
constexpr bool kPopcount = true;

#include "quant/kernels/bit_gemm/tables.inc"

}  // namespace

const Kernels& gemm_neon();
const Kernels& gemm_neon() { return kTable; }

}  // namespace nibble::bits
