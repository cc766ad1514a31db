#include <cstdint>

#include "quant/kernels/int8_gemm/int8_gemm.h"

namespace nibble::int8 {
namespace {

constexpr int64_t kLanes = 4;
constexpr int64_t kMin = INT32_MIN, kMax = INT32_MAX;
constexpr uint8_t kOrder[2 * kLanes] = {0, 1, 2, 3, 4, 5, 6, 7};

template <class T>
T bound(T v, T lo, T hi) {
  return v < lo ? lo : v > hi ? hi : v;
}

int32_t fixed_value(const Outcome& o, int64_t c, int32_t acc) {
  const auto x = static_cast<int32_t>(bound(int64_t{acc} * (int64_t{1} << o.left[c]), kMin, kMax));
  const auto high = static_cast<int32_t>((int64_t{x} * o.multiplier[c] + (int64_t{1} << 30)) >> 31);
  const int32_t remainder = high & o.right_mask[c], threshold = (o.right_mask[c] >> 1) + (high < 0 ? 1 : 0);
  return (high >> o.right[c]) + (remainder > threshold ? 1 : 0);
}

float real_value(const Outcome& o, int64_t c, int32_t acc, int32_t x_sum) {
  const float scaled = static_cast<float>(acc) * o.scale[c];
  const float r = scaled + o.offset[c];
  if (!o.x_sum_scale) return r;
  const float term = static_cast<float>(x_sum) * o.x_sum_scale[c];
  return r + term;
}

// Adding 1.5 * 2^23 leaves no room for a fraction: half to even.
int32_t round_real(float r) { return static_cast<int32_t>((bound(r, -65536.f, 65536.f) + 0x1.8p23f) - 0x1.8p23f); }

void emit(const Outcome& o, int64_t c, uint32_t raw, int32_t x_sum, void* y, int64_t at) {
  if (o.sum_weight) raw = (raw << o.unit_shift) + static_cast<uint32_t>(o.sum_weight[c]) * static_cast<uint32_t>(x_sum);
  if (o.adds_sum) raw += static_cast<uint32_t>(x_sum);
  const auto acc = static_cast<int32_t>(raw + static_cast<uint32_t>(o.bias[c]));
  if (o.kind == Outcome::kAccumulators) {
    static_cast<int32_t*>(y)[at] = acc;
  } else if (o.kind == Outcome::kReals) {
    const float value = real_value(o, c, acc, x_sum), r = o.add ? value + o.add[at] : value;
    const float above = r > o.least ? r : o.least;
    static_cast<float*>(y)[at] = above < o.most ? above : o.most;
  } else {
    const int64_t v = o.kind == Outcome::kFixed ? fixed_value(o, c, acc) : round_real(real_value(o, c, acc, x_sum));
    static_cast<uint8_t*>(y)[at] = static_cast<uint8_t>(bound<int64_t>(v + o.zero, o.lo, o.hi));
  }
}

void correlate(const Correlate& k) {
  const int64_t panel = (k.n + kLanes - 1) / kLanes * kLanes;
  for (int64_t row = 0; row < k.rows; ++row)
    for (int64_t col = 0; col < k.cols; ++col) {
      uint32_t raw[2 * kLanes] = {};
      const uint8_t* w = k.w;
      for (int64_t s = 0; s < k.segs; ++s) {
        const uint8_t* x = k.x + row * k.x_row + col * k.x_col + k.seg[s];
        for (int64_t i = 0; i < k.steps; ++i, x += 4)
          for (int64_t j = 0; j < panel; ++j, w += 4)
            for (int b = 0; b < 4; ++b)
              raw[j] += static_cast<uint32_t>(static_cast<int32_t>(x[b]) * static_cast<int8_t>(w[b]));
      }
      const int32_t x_sum = k.x_sum ? k.x_sum[row * k.cols + col] : 0;
      for (int64_t j = 0; j < k.n; ++j) emit(k.outcome, j, raw[j], x_sum, k.y, row * k.y_row + col * k.y_col + j);
    }
}

void depthwise(const Depthwise& k) {
  for (int64_t row = 0; row < k.rows; ++row)
    for (int64_t col = 0; col < k.cols; ++col)
      for (int64_t c = 0; c < k.n; ++c) {
        const uint8_t* x = k.x + row * k.x_row + col * k.x_col + c;
        const int16_t* w = k.w + (c / (2 * kLanes) * k.pairs * 2 * kLanes + c % (2 * kLanes)) * 2;
        uint32_t raw = 0;
        for (int64_t p = 0; p < k.pairs; ++p, w += 4 * kLanes)
          raw += static_cast<uint32_t>(x[k.seg[2 * p]] * w[0]) + static_cast<uint32_t>(x[k.seg[2 * p + 1]] * w[1]);
        emit(k.outcome, c, raw, 0, k.y, row * k.y_row + col * k.y_col + c);
      }
}

void add(const Add& k) {
  const Outcome& o = k.outcome;
  for (int64_t i = 0; i < k.n; ++i) {
    const int32_t a = k.a[i] - k.a_zero, b = k.b[i] - k.b_zero;
    int64_t v;
    if (o.kind == Outcome::kReal) {
      const float first = static_cast<float>(a) * k.a_scale, second = static_cast<float>(b) * k.b_scale;
      v = round_real((first + second) / k.y_scale);
    } else {
      v = fixed_value(o, 0, fixed_value(k.a_scaling, 0, a * (1 << 20)) + fixed_value(k.b_scaling, 0, b * (1 << 20)));
    }
    k.y[i] = static_cast<uint8_t>(bound<int64_t>(v + o.zero, o.lo, o.hi));
  }
}

constexpr Kernels kTable{.operand = Operand::u8_s8,
                         .lanes = kLanes,
                         .block = 2 * kLanes,
                         .pixels = 4,
                         .depthwise_order = kOrder,
                         .correlate = correlate,
                         .depthwise = depthwise,
                         .add = add};

}  // namespace

const Kernels& gemm_scalar();
const Kernels& gemm_scalar() { return kTable; }

}  // namespace nibble::int8
