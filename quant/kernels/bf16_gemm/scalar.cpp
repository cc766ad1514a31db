#include <cstdint>
#include <cstring>

#include "quant/kernels/bf16_gemm/bf16_gemm.h"

namespace nibble::bf16 {
namespace {

float widen(uint16_t v) {
  const uint32_t bits = uint32_t{v} << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

void round(const float* x, int64_t n, uint16_t* to) {
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    const bool nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
    const uint32_t nearest = bits + 0x7FFFu + ((bits >> 16) & 1u);
    to[i] = static_cast<uint16_t>(nan ? (bits >> 16) | 0x40u : nearest >> 16);
  }
}

float sum(const Correlate& k, const uint16_t* pixel, int64_t j) {
  float total = 0;
  for (int64_t s = 0; s < k.segs; ++s)
    for (int64_t i = 0; i < 2 * k.pairs; ++i) {
      const int64_t pair = s * k.pairs + i / 2;
      total += widen(pixel[k.seg[s] / 2 + i]) * widen(k.w[(pair * kPanel + j) * 2 + i % 2]);
    }
  return total;
}

void correlate(const Correlate& k) {
  for (int64_t row = 0; row < k.rows; ++row)
    for (int64_t col = 0; col < k.cols; ++col)
      for (int64_t j = 0; j < k.n; ++j) {
        const int64_t at = row * k.y_row + col * k.y_col + j;
        const float base = k.factor ? k.factor[j] * k.base[at] : k.base[at];
        k.y[at] = base + (k.offset ? k.offset[j] : 0) + sum(k, k.x + row * k.x_row + col * k.x_col, j);
      }
}

}  // namespace

const Kernels& gemm_scalar();
const Kernels& gemm_scalar() {
  static constexpr Kernels kernels{round, correlate};
  return kernels;
}

}  // namespace nibble::bf16
