#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "quant/kernels/bit_conv/bit_conv.h"

/// What BitConvSpec defines, by plain loops over values, one output at a time.
namespace nibble::bits::test {

template <class T>
T entry(const std::vector<T>& list, int64_t c, T if_empty = T{}) {
  return list.empty() ? if_empty : list[list.size() == 1 ? 0 : static_cast<size_t>(c)];
}

/// Bits that are set in the codes of a window, by pairs of planes and alone.
struct Window {
  double acc = 0;  ///< sum of the products of the values
  float p[4][8] = {}, q[8] = {}, r[4] = {}, t = 0;
};

inline double value(double offset, const std::vector<double>& basis, unsigned code) {
  for (size_t k = 0; k < basis.size(); ++k) offset += code >> k & 1 ? basis[k] : 0;
  return offset;
}

/// Values of all codes of the activations, and of the weights of all output channels.
struct Values {
  std::vector<double> a, w;
  explicit Values(const BitConvSpec& s) {
    for (unsigned code = 0; code < 256; ++code) a.push_back(value(s.a_offset, s.a_basis, code));
    for (int64_t o = 0; o < s.out_channels; ++o) {
      std::vector<double> basis;
      for (const auto& list : s.w_basis) basis.push_back(entry(list, o));
      for (unsigned code = 0; code < 16; ++code) w.push_back(value(entry(s.w_offset, o), basis, code));
    }
  }
};

/// Adds one tap and channel.
inline void add(const BitConvSpec& s, const Values& values, int64_t o, unsigned w, unsigned a, Window& n) {
  n.acc += values.w[static_cast<size_t>(o) * 16 + w] * values.a[a];
  n.t += 1;
  if (s.rule == BitConvSpec::Rule::integer) return;
  for (int k = 0; k < s.w_bits; ++k)
    for (int j = 0; j < s.a_bits; ++j) n.p[k][j] += static_cast<float>(w >> k & a >> j & 1);
  for (int j = 0; j < s.a_bits; ++j) n.q[j] += static_cast<float>(a >> j & 1);
  for (int k = 0; k < s.w_bits; ++k) n.r[k] += static_cast<float>(w >> k & 1);
}

inline float learned(const BitConvSpec& s, int64_t o, const Window& n) {
  const double scale = entry(s.epilogue.scale, o, 1.f);
  const auto factor = [&](double v) { return static_cast<float>(v * scale); };
  volatile float r = entry(s.epilogue.offset, o), term;  // volatile: nothing may be fused
  for (int k = 0; k < s.w_bits; ++k)
    for (int j = 0; j < s.a_bits; ++j) {
      term = n.p[k][j] * factor(entry(s.w_basis[static_cast<size_t>(k)], o) * s.a_basis[static_cast<size_t>(j)]);
      r = r + term;
    }
  const bool offsets = std::any_of(s.w_offset.begin(), s.w_offset.end(), [](double v) { return v != 0; });
  for (int j = 0; offsets && j < s.a_bits; ++j) {
    term = n.q[j] * factor(entry(s.w_offset, o) * s.a_basis[static_cast<size_t>(j)]);
    r = r + term;
  }
  if (s.a_offset == 0) return r;
  volatile float b = n.r[0] * factor(s.a_offset * entry(s.w_basis[0], o));
  for (int k = 1; k < s.w_bits; ++k) {
    term = n.r[k] * factor(s.a_offset * entry(s.w_basis[static_cast<size_t>(k)], o));
    b = b + term;
  }
  term = n.t * factor(entry(s.w_offset, o) * s.a_offset);
  b = b + term;
  r = r + b;
  return r;
}

inline uint8_t code_of(const Epilogue& e, float r) {
  if (e.output == Epilogue::Output::uniform)
    return static_cast<uint8_t>(std::clamp(std::nearbyint(double{r}) + e.zero, double(e.lo), double(e.hi)));
  size_t level = 0;
  while (level < e.thresholds.size() && (e.strict ? r > e.thresholds[level] : r >= e.thresholds[level])) ++level;
  return e.codes[level];
}

struct Output {
  std::vector<uint8_t> codes;
  std::vector<int32_t> accumulators;
  std::vector<float> reals;
};

inline Output reference_conv(const BitConvSpec& s, const std::vector<uint8_t>& x, int64_t batch, int64_t h, int64_t w) {
  const ConvGeometry& g = s.geometry;
  const int64_t oh = conv_extent(h, s.kh, g.stride_h, g.pad.top, g.pad.bottom, g.dilation_h);
  const int64_t ow = conv_extent(w, s.kw, g.stride_w, g.pad.left, g.pad.right, g.dilation_w);
  const int64_t in = s.in_channels / g.groups, out = s.out_channels / g.groups;
  const Values values(s);
  Output y;
  for (int64_t i = 0; i < batch * oh * ow; ++i)
    for (int64_t o = 0; o < s.out_channels; ++o) {
      Window n;
      for (int64_t kr = 0; kr < s.kh; ++kr)
        for (int64_t kc = 0; kc < s.kw; ++kc) {
          const int64_t row = i / ow % oh * g.stride_h - g.pad.top + kr * g.dilation_h;
          const int64_t col = i % ow * g.stride_w - g.pad.left + kc * g.dilation_w;
          if (row < 0 || row >= h || col < 0 || col >= w) continue;
          for (int64_t c = 0; c < in; ++c)
            add(s, values, o, s.weights[static_cast<size_t>(((o * in + c) * s.kh + kr) * s.kw + kc)],
                x[static_cast<size_t>(((i / (oh * ow) * h + row) * w + col) * s.in_channels + o / out * in + c)], n);
        }
      volatile float scaled = static_cast<float>(n.acc) * entry(s.epilogue.scale, o, 1.f);
      const float r = s.rule == BitConvSpec::Rule::learned ? learned(s, o, n) : scaled + entry(s.epilogue.offset, o);
      y.accumulators.push_back(static_cast<int32_t>(n.acc));
      y.reals.push_back(r);
      y.codes.push_back(test::code_of(s.epilogue, r));
    }
  return y;
}

}  // namespace nibble::bits::test
