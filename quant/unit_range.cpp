#include "quant/unit_range.h"

#include <cmath>

#include "core/rounding.h"
#include "quant/blocks.h"

namespace nibble {

namespace {

constexpr int64_t kStretch = 1024;  ///< elements whose codes are kept on the stack

double block_gradient(const float* x, const float* dy, float* dx, int64_t n, float range, float top,
                      const BackwardRule& rule) {
  float u[kStretch], code[kStretch];
  double sum = 0;
  for (int64_t first = 0; first < n; first += kStretch) {
    const int64_t count = std::min(kStretch, n - first);
    for (int64_t i = 0; i < count; ++i) {
      u[i] = x[first + i] / range * top;
      code[i] = round_half_even(std::min(std::max(u[i], 0.0f), top));
    }
    const auto length = static_cast<size_t>(count);
    const BackwardRule::View gradient(dy + first, length);
    sum += rule.step({u, length}, {code, length}, gradient, 0, top);
    rule.input({u, length}, gradient, 0, top, {dx + first, length});
  }
  return sum;
}

}  // namespace

Uniform unit_grid(float range, int bits) {
  const int top = (1 << bits) - 1;
  const auto n = static_cast<float>(top);
  float step = range / n;
  // range / 2 is n / 2 steps, a tie; a step that was rounded up must not pull it below.
  if (range / 2 / step < n / 2) step = std::nextafter(step, 0.0f);
  return Uniform{{step}, {0}, 0, top};
}

UnitGradients unit_gradients(const Tensor& x, const Tensor& dy, float range, int bits, const BackwardRule& rule) {
  const auto top = static_cast<float>((1 << bits) - 1);
  UnitGradients result{Tensor::empty_like(x)};
  const float *px = x.data<float>().data(), *pdy = dy.data<float>().data();
  float* pdx = result.dx.mutable_data<float>().data();
  const auto sums = Blocks(x.numel(), 1).sum<double>([&](const Block& b) {
    return block_gradient(px + b.begin, pdy + b.begin, pdx + b.begin, b.count, range, top, rule);
  });
  result.drange = sums[0] / top;
  return result;
}

}  // namespace nibble
