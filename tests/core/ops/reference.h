#pragma once

#include <cstdint>
#include <vector>

/// Plain double-precision loops that the ops are compared with, written from their definitions.
namespace nibble::test {

/// An array of doubles indexed (n, h, w, c).
struct Nhwc {
  int64_t n, h, w, c;
  std::vector<double> v;

  Nhwc(int64_t n_, int64_t h_, int64_t w_, int64_t c_, std::vector<double> values = {})
      : n(n_), h(h_), w(w_), c(c_), v(std::move(values)) {
    v.resize(static_cast<size_t>(n * h * w * c));
  }
  double& at(int64_t i, int64_t y, int64_t x, int64_t k) {
    return v[static_cast<size_t>(((i * h + y) * w + x) * c + k)];
  }
  bool inside(int64_t y, int64_t x) const { return y >= 0 && y < h && x >= 0 && x < w; }
};

}  // namespace nibble::test
