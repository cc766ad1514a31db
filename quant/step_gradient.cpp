#include "quant/step_gradient.h"

#include <algorithm>

#include "core/kernels/elementwise/dispatch.h"
#include "core/ops/elementwise_op.h"
#include "core/parallel.h"
#include "core/rounding.h"

namespace nibble {

namespace {

constexpr int64_t kOnStack = 1024;  ///< elements whose codes are kept there

/// u and codes first, then what the rule makes of them.
double gradient_by_rule(const float* x, const float* dy, float* dx, int64_t n, float step, float lo, float hi,
                        const BackwardRule& rule) {
  float u[kOnStack], code[kOnStack];
  double sum = 0;
  for (int64_t first = 0; first < n; first += kOnStack) {
    const int64_t count = std::min(kOnStack, n - first);
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

}  // namespace

double step_gradient_of(const float* x, const float* dy, float* dx, int64_t n, float step, int lo, int hi,
                        const BackwardRule& rule) {
  const auto least = static_cast<float>(lo), most = static_cast<float>(hi);
  if (const auto bounds = rule.window(least, most))
    return elementwise::kernels().step_gradient(x, dy, {step, 0, least, most}, bounds->first, bounds->last, dx, n);
  return gradient_by_rule(x, dy, dx, n, step, least, most, rule);
}

StepGradients step_gradients(const Tensor& x, const Tensor& dy, const Tensor& step, int lo, int hi,
                             const BackwardRule& rule, const Tensor& dx, int64_t run) {
  constexpr int64_t kStretch = ElementwiseOp::kStretch;
  const int64_t channels = step.numel(), width = x.numel() / channels,
                length = std::max<int64_t>(1, std::min(run, width)), per_run = (length + kStretch - 1) / kStretch,
                per_channel = (width + length - 1) / length * per_run;
  StepGradients result{dx.defined() ? dx : Tensor::empty_like(x),
                       std::vector<double>(static_cast<size_t>(channels), 0.0)};
  std::vector<double> partial(static_cast<size_t>(channels * per_channel));
  const float *px = x.data<float>().data(), *pdy = dy.data<float>().data(), *steps = step.data<float>().data();
  float* pdx = result.dx.mutable_data<float>().data();
  parallel_for(0, channels * per_channel, 4, [&](int64_t first, int64_t last) {
    for (int64_t s = first; s < last; ++s) {
      const int64_t channel = s / per_channel, at = s % per_channel;
      const int64_t run_end = std::min(width, (at / per_run + 1) * length);
      const int64_t begin = at / per_run * length + at % per_run * kStretch, end = std::min(run_end, begin + kStretch);
      if (begin >= end) continue;  // in the last run, which can be shorter
      const int64_t offset = channel * width + begin;
      partial[static_cast<size_t>(s)] =
          step_gradient_of(px + offset, pdy + offset, pdx + offset, end - begin, steps[channel], lo, hi, rule);
    }
  });
  for (int64_t s = 0; s < channels * per_channel; ++s)
    result.dstep[static_cast<size_t>(s / per_channel)] += partial[static_cast<size_t>(s)];
  return result;
}

}  // namespace nibble
