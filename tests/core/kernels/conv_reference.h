#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/kernels/conv_f32/driver.h"

namespace nibble::test {

using conv_f32::ConvShape;

inline std::vector<float> random_floats(int64_t n, uint64_t seed) {
  uint64_t s = seed * 0x9E3779B97F4A7C15u + 1;
  std::vector<float> v(static_cast<size_t>(n));
  for (float& f : v) {
    s = s * 6364136223846793005u + 1442695040888963407u;
    f = static_cast<float>(static_cast<int64_t>(s >> 40)) / static_cast<float>(1 << 23) - 1.f;
  }
  return v;
}

inline ConvShape shape_of(int64_t n, int64_t h, int64_t w, int64_t c, int64_t o, int kh, int kw,
                          const ConvGeometry& g) {
  return {.n = n,
          .h = h,
          .w = w,
          .c = c,
          .oh = conv_extent(h, kh, g.stride_h, g.pad.top, g.pad.bottom, g.dilation_h),
          .ow = conv_extent(w, kw, g.stride_w, g.pad.left, g.pad.right, g.dilation_w),
          .o = o,
          .kh = kh,
          .kw = kw,
          .geometry = g};
}

struct Results {
  std::vector<double> y, dx, dw;
};

// The definition: one loop over all products, in double.
inline Results reference(const ConvShape& s, const std::vector<float>& x, const std::vector<float>& w,
                         const std::vector<float>& bias, const std::vector<float>& dy) {
  Results r{std::vector<double>(dy.size()), std::vector<double>(x.size()), std::vector<double>(w.size())};
  const ConvGeometry& g = s.geometry;
  const int64_t in = s.c / g.groups, out = s.o / g.groups;
  for (int64_t n = 0; n < s.n; ++n)
    for (int64_t oh = 0; oh < s.oh; ++oh)
      for (int64_t ow = 0; ow < s.ow; ++ow)
        for (int64_t o = 0; o < s.o; ++o) {
          const auto iy = static_cast<size_t>(((n * s.oh + oh) * s.ow + ow) * s.o + o);
          r.y[iy] += bias[static_cast<size_t>(o)];
          for (int64_t kh = 0; kh < s.kh; ++kh)
            for (int64_t kw = 0; kw < s.kw; ++kw) {
              const int64_t h = oh * g.stride_h - g.pad.top + kh * g.dilation_h;
              const int64_t v = ow * g.stride_w - g.pad.left + kw * g.dilation_w;
              if (h < 0 || h >= s.h || v < 0 || v >= s.w) continue;
              for (int64_t i = 0; i < in; ++i) {
                const auto ix = static_cast<size_t>(((n * s.h + h) * s.w + v) * s.c + o / out * in + i);
                const auto iw = static_cast<size_t>(((o * in + i) * s.kh + kh) * s.kw + kw);
                r.y[iy] += static_cast<double>(x[ix]) * w[iw];
                r.dx[ix] += static_cast<double>(dy[iy]) * w[iw];
                r.dw[iw] += static_cast<double>(dy[iy]) * x[ix];
              }
            }
        }
  return r;
}

inline double worst(const std::vector<float>& got, const std::vector<double>& want) {
  double gap = 0, scale = 1;
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = std::fabs(got[i] - want[i]);
    gap = std::isnan(d) ? INFINITY : std::max(gap, d);
    scale = std::max(scale, std::fabs(want[i]));
  }
  return gap / scale;
}

inline std::string text(const ConvShape& s) {
  const ConvGeometry& g = s.geometry;
  return concat_text("input [", s.n, ",", s.h, ",", s.w, ",", s.c, "] out ", s.o, " kernel ", s.kh, "x", s.kw,
                     " stride ", g.stride_h, "x", g.stride_w, " pad ", g.pad.top, " ", g.pad.bottom, " ", g.pad.left,
                     " ", g.pad.right, " dilation ", g.dilation_h, "x", g.dilation_w, " groups ", g.groups);
}

}  // namespace nibble::test
