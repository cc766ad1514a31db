#include "quant/step_gradient.h"

#include <algorithm>

#include "core/kernels/elementwise/dispatch.h"
#include "core/parallel.h"
#include "core/rounding.h"

namespace nibble {

namespace {

constexpr int64_t kBlock = 4096;    ///< elements whose sum is formed at once
constexpr int64_t kStretch = 1024;  ///< elements whose codes are kept on the stack

/// u and codes first, then what the rule makes of them.
double gradient_by_rule(const float* x, const float* dy, float* dx, int64_t n, float step, float lo, float hi,
                        const BackwardRule& rule) {
  float u[kStretch], code[kStretch];
  double sum = 0;
  for (int64_t first = 0; first < n; first += kStretch) {
    const int64_t count = std::min(kStretch, n - first);
    for (int64_t i = 0; i < count; ++i) {
      u[i] = x[first + i] / step;
      code[i] = round_half_even(std::min(std::max(u[i], lo), hi));
    }
    const auto length = static_cast<size_t>(count);
    const BackwardRule::View gradient(dy + first, length);
    sum += rule.step({u, length}, {code, length}, gradient, lo, hi);
    rule.input({u, length}, gradient, lo, hi, {dx + first, length});
  }
  return sum;
}

double block_gradient(const float* x, const float* dy, float* dx, int64_t n, float step, float lo, float hi,
                      const BackwardRule& rule) {
  if (const auto bounds = rule.window(lo, hi))
    return elementwise::kernels().step_gradient(x, dy, {step, 0, lo, hi}, bounds->first, bounds->last, dx, n);
  return gradient_by_rule(x, dy, dx, n, step, lo, hi, rule);
}

}  // namespace

StepGradients step_gradients(const Tensor& x, const Tensor& dy, const Tensor& step, int lo, int hi,
                             const BackwardRule& rule, const Tensor& dx) {
  const int64_t channels = step.numel(), width = x.numel() / channels, blocks = (width + kBlock - 1) / kBlock;
  StepGradients result{dx.defined() ? dx : Tensor::empty_like(x),
                       std::vector<double>(static_cast<size_t>(channels), 0.0)};
  std::vector<double> partial(static_cast<size_t>(channels * blocks));
  const float *px = x.data<float>().data(), *pdy = dy.data<float>().data(), *steps = step.data<float>().data();
  float* pdx = result.dx.mutable_data<float>().data();
  parallel_for(0, channels * blocks, 4, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      const int64_t channel = b / blocks, begin = channel * width + b % blocks * kBlock;
      const int64_t count = std::min(kBlock, (channel + 1) * width - begin);
      partial[static_cast<size_t>(b)] = block_gradient(px + begin, pdy + begin, pdx + begin, count, steps[channel],
                                                       static_cast<float>(lo), static_cast<float>(hi), rule);
    }
  });
  for (int64_t b = 0; b < channels * blocks; ++b)
    result.dstep[static_cast<size_t>(b / blocks)] += partial[static_cast<size_t>(b)];
  return result;
}

}  // namespace nibble
