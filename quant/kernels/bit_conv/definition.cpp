#include "quant/kernels/bit_conv/definition.h"

#include <algorithm>
#include <cmath>

#include "core/rounding.h"
#include "quant/kernels/bit_conv/plan.h"

namespace nibble::bits {
namespace {

template <class T>
T entry(const std::vector<T>& list, int64_t channel, T if_empty) {
  return list.empty() ? if_empty : list[list.size() == 1 ? 0 : static_cast<size_t>(channel)];
}

int32_t whole(double v) { return static_cast<int32_t>(v); }

/// An output pixel of one image.
struct Place {
  const uint8_t* image;
  int64_t h, w, row, col;
};

Counts count(const BitConvSpec& s, const Place& at, int64_t o) {
  const ConvGeometry& g = s.geometry;
  const int64_t in = s.in_channels / g.groups, first = o / (s.out_channels / g.groups) * in;
  Counts n;
  for (int64_t tap = 0; tap < int64_t{s.kh} * s.kw; ++tap) {
    const int64_t r = at.row * g.stride_h - g.pad.top + tap / s.kw * g.dilation_h;
    const int64_t c = at.col * g.stride_w - g.pad.left + tap % s.kw * g.dilation_w;
    if (r < 0 || r >= at.h || c < 0 || c >= at.w) continue;
    for (int64_t i = 0; i < in; ++i) {
      const unsigned a = at.image[(r * at.w + c) * s.in_channels + first + i];
      const unsigned b = s.weights[static_cast<size_t>((o * in + i) * s.kh * s.kw + tap)];
      for (int j = 0; j < s.a_bits; ++j) n.q[j] += a >> j & 1;
      for (int k = 0; k < s.w_bits; ++k) n.r[k] += b >> k & 1;
      for (int k = 0; k < s.w_bits; ++k)
        for (int j = 0; j < s.a_bits; ++j) n.p[k][j] += a >> j & b >> k & 1;
      ++n.t;
    }
  }
  return n;
}

bool has_w_offset(const BitConvSpec& s) {
  return std::any_of(s.w_offset.begin(), s.w_offset.end(), [](double v) { return v != 0; });
}

template <class T>
void put(void* y, int64_t at, T v) {
  static_cast<T*>(y)[at] = v;
}

}  // namespace

int64_t accumulator(const BitConvSpec& s, const Counts& n) {
  const int64_t w0 = whole(s.w_offset[0]), a0 = whole(s.a_offset);
  int64_t acc = w0 * a0 * n.t;
  for (int j = 0; j < s.a_bits; ++j) acc += w0 * whole(s.a_basis[j]) * n.q[j];
  for (int k = 0; k < s.w_bits; ++k) {
    const int64_t u = whole(s.w_basis[k][0]);
    acc += u * a0 * n.r[k];
    for (int j = 0; j < s.a_bits; ++j) acc += u * whole(s.a_basis[j]) * n.p[k][j];
  }
  return acc;
}

float integer_value(const BitConvSpec& s, int64_t o, int32_t acc) {
  const float scaled = static_cast<float>(acc) * entry(s.epilogue.scale, o, 1.f);
  return scaled + entry(s.epilogue.offset, o, 0.f);
}

float learned_factor(const BitConvSpec& s, int64_t o, double product) {
  return static_cast<float>(product * double{entry(s.epilogue.scale, o, 1.f)});
}

float learned_border(const BitConvSpec& s, int64_t o, const Counts& n) {
  float b = 0;
  if (s.a_offset == 0) return b;
  for (int k = 0; k < s.w_bits; ++k) {
    const float term = static_cast<float>(n.r[k]) * learned_factor(s, o, s.a_offset * entry(s.w_basis[k], o, 0.));
    b = k == 0 ? term : b + term;
  }
  const float term = static_cast<float>(n.t) * learned_factor(s, o, entry(s.w_offset, o, 0.) * s.a_offset);
  return b + term;
}

float learned_value(const BitConvSpec& s, int64_t o, const Counts& n) {
  float r = entry(s.epilogue.offset, o, 0.f);
  for (int k = 0; k < s.w_bits; ++k)
    for (int j = 0; j < s.a_bits; ++j) {
      const float term =
          static_cast<float>(n.p[k][j]) * learned_factor(s, o, entry(s.w_basis[k], o, 0.) * s.a_basis[j]);
      r = r + term;
    }
  if (has_w_offset(s))
    for (int j = 0; j < s.a_bits; ++j) {
      const float term = static_cast<float>(n.q[j]) * learned_factor(s, o, entry(s.w_offset, o, 0.) * s.a_basis[j]);
      r = r + term;
    }
  return s.a_offset == 0 ? r : r + learned_border(s, o, n);
}

float bounded(const Epilogue& e, float r) {
  const float above = r > e.least ? r : e.least;
  return above < e.most ? above : e.most;
}

uint8_t code_of(const Epilogue& e, float r) {
  if (e.output == Epilogue::Output::uniform) {
    const auto v = static_cast<int32_t>(round_half_even(std::clamp(r, -65536.f, 65536.f)));
    return static_cast<uint8_t>(std::clamp(v + e.zero, e.lo, e.hi));
  }
  size_t level = 0;
  for (const float t : e.thresholds) level += (e.strict ? r > t : r >= t) ? 1 : 0;
  return e.codes[level];
}

void evaluate(const BitConvSpec& s, const uint8_t* x, int64_t batch, int64_t h, int64_t w, void* y, const float* add) {
  detail::check(s);
  const ConvGeometry& g = s.geometry;
  const int64_t oh = conv_extent(h, s.kh, g.stride_h, g.pad.top, g.pad.bottom, g.dilation_h);
  const int64_t ow = conv_extent(w, s.kw, g.stride_w, g.pad.left, g.pad.right, g.dilation_w);
  for (int64_t i = 0; i < batch * oh * ow; ++i)
    for (int64_t o = 0; o < s.out_channels; ++o) {
      const Place at{x + i / (oh * ow) * h * w * s.in_channels, h, w, i / ow % oh, i % ow};
      const Counts n = count(s, at, o);
      const int64_t to = i * s.out_channels + o;
      const bool learned = s.rule == BitConvSpec::Rule::learned;
      const auto acc = learned ? 0 : static_cast<int32_t>(accumulator(s, n));
      const float r = learned ? learned_value(s, o, n) : integer_value(s, o, acc);
      if (s.epilogue.output == Epilogue::Output::accumulators)
        put(y, to, acc);
      else if (s.epilogue.output == Epilogue::Output::reals)
        put(y, to, bounded(s.epilogue, add != nullptr ? r + add[to] : r));
      else
        put(y, to, code_of(s.epilogue, r));
    }
}

}  // namespace nibble::bits
