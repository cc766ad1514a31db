#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "quant/kernels/fixed_point.h"
#include "quant/kernels/int8_conv/int8_conv.h"

/// The definitions of spec sections 2 and 3, line by line, one output at a time.
namespace nibble::int8::test {

template <class T>
T entry(const std::vector<T>& list, int64_t c) {
  return list.empty() ? T{} : list[list.size() == 1 ? 0 : static_cast<size_t>(c)];
}

inline int32_t code_of(const Epilogue& e, int64_t c, int32_t acc, int32_t x_sum, float* real = nullptr) {
  if (e.rule == Epilogue::Rule::fixed && e.output == Epilogue::Output::codes) {
    const QuantizedMultiplier m{entry(e.multiplier, c), entry(e.shift, c)};
    return static_cast<int32_t>(
        std::clamp<int64_t>(int64_t{multiply_by_quantized_multiplier(acc, m)} + e.zero, e.lo, e.hi));
  }
  volatile float r = static_cast<float>(acc) * entry(e.scale, c);  // volatile: nothing may be fused
  r = r + entry(e.offset, c);
  if (!e.x_sum_scale.empty()) {
    volatile float term = static_cast<float>(x_sum) * entry(e.x_sum_scale, c);
    r = r + term;
  }
  if (real) *real = r;
  return static_cast<int32_t>(std::clamp(std::nearbyint(double{r}) + e.zero, double(e.lo), double(e.hi)));
}

struct Output {
  std::vector<uint8_t> codes;
  std::vector<int32_t> accumulators;
  std::vector<float> reals;
};

inline Output reference_conv(const Int8ConvSpec& s, const std::vector<uint8_t>& x, int64_t batch, int64_t h,
                             int64_t w) {
  const ConvGeometry& g = s.geometry;
  const int64_t oh = conv_extent(h, s.kh, g.stride_h, g.pad.top, g.pad.bottom, g.dilation_h);
  const int64_t ow = conv_extent(w, s.kw, g.stride_w, g.pad.left, g.pad.right, g.dilation_w);
  const int64_t in = s.in_channels / g.groups, out = s.out_channels / g.groups;
  Output y;
  for (int64_t n = 0; n < batch; ++n)
    for (int64_t p = 0; p < oh; ++p)
      for (int64_t q = 0; q < ow; ++q)
        for (int64_t o = 0; o < s.out_channels; ++o) {
          int64_t acc = entry(s.bias, o), x_sum = 0;
          for (int64_t i = 0; i < in; ++i)
            for (int64_t r = 0; r < s.kh; ++r)
              for (int64_t c = 0; c < s.kw; ++c) {
                const int64_t row = p * g.stride_h - g.pad.top + r * g.dilation_h;
                const int64_t col = q * g.stride_w - g.pad.left + c * g.dilation_w;
                const bool inside = row >= 0 && row < h && col >= 0 && col < w;
                const int64_t at = ((n * h + row) * w + col) * s.in_channels + o / out * in + i;
                const int32_t q2 = (inside ? x[static_cast<size_t>(at)] : s.x_zero) - s.x_zero;
                const int32_t q1 = s.weights[static_cast<size_t>(((o * in + i) * s.kh + r) * s.kw + c)];
                acc += int64_t{s.w_unit * q1 - entry(s.w_zero, o)} * q2;
                x_sum += q2;
              }
          y.accumulators.push_back(static_cast<int32_t>(acc));
          float real = 0;
          y.codes.push_back(static_cast<uint8_t>(
              code_of(s.epilogue, o, static_cast<int32_t>(acc), static_cast<int32_t>(x_sum), &real)));
          y.reals.push_back(real);
        }
  return y;
}

/// Codes 0..most; style 1 has extremes only.
inline std::vector<uint8_t> random_codes(int64_t n, uint32_t seed, int most = 255, int style = 0) {
  std::mt19937 random(seed);
  std::vector<uint8_t> v(static_cast<size_t>(n));
  for (uint8_t& q : v)
    q = static_cast<uint8_t>(style == 1 ? (random() % 2 ? most : 0)
                                        : static_cast<int>(random() % static_cast<uint32_t>(most + 1)));
  return v;
}

}  // namespace nibble::int8::test
