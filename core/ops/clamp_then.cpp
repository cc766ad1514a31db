#include "core/ops/clamp_then.h"

#include <atomic>
#include <cmath>

#include "core/kernels/elementwise/dispatch.h"
#include "core/ops.h"
#include "core/ops/stretches.h"

namespace nibble {

namespace {

const float* values(const Tensor& t) { return t.data<float>().data(); }

/// clamp(x + residual), stretch by stretch.
struct ClampedSum {
  Tensor x, residual;
  float most;

  /// The n sums from `at` on: x itself, or in `scratch`.
  const float* sums(int64_t at, int64_t n, float* scratch) const {
    if (!residual.defined()) return values(x) + at;
    elementwise::kernels().add(values(x) + at, values(residual) + at, scratch, n);
    return scratch;
  }
  /// The n results from `at` on, in `scratch`, or for an op that is flat below 0 the sums if these do as well.
  const float* run(int64_t at, int64_t n, const ElementwiseOp& then, float* scratch) const {
    const float* const sum = sums(at, n, scratch);
    if (std::isinf(most) && then.flat_below_zero()) return sum;
    elementwise::kernels().relu(sum, scratch, n);
    if (!std::isinf(most))
      for (int64_t i = 0; i < n; ++i) scratch[i] = scratch[i] > most ? most : scratch[i];
    return scratch;
  }
  /// g = y < most ? g : 0 for what run() gave.
  void cut(const float* y, float* g, int64_t n) const {
    if (std::isinf(most)) return;
    for (int64_t i = 0; i < n; ++i) g[i] = y[i] < most ? g[i] : 0;
  }
};

void check(const Tensor& x, const Tensor& residual) {
  check_f32("relu", x);
  if (!residual.defined()) return;
  check_f32("add", residual);
  NIBBLE_CHECK(residual.shape() == x.shape(), "add: shapes differ: ", x.shape(), " and ", residual.shape());
}

}  // namespace

std::optional<ValueRange> clamped_range(const Tensor& x, const Tensor& residual, float most) {
  check(x, residual);
  if (!residual.defined() && x.known_range()) return ValueRange{0, std::min(x.known_range()->highest, most)};
  const ClampedSum clamped{x, residual, most};
  constexpr int64_t kStretch = ElementwiseOp::kStretch;
  const int64_t stretches = (x.numel() + kStretch - 1) / kStretch;
  std::vector<float> highest(static_cast<size_t>(stretches));
  std::atomic<bool> finite{true};
  parallel_for(0, stretches, std::max<int64_t>(1, kElementGrain / kStretch), [&](int64_t lo, int64_t hi) {
    float scratch[kStretch];
    for (int64_t i = lo; i < hi; ++i) {
      const int64_t at = i * kStretch, n = std::min(kStretch, x.numel() - at);
      float low = 0;
      if (!elementwise::kernels().extremes(clamped.sums(at, n, scratch), n, &low, &highest[static_cast<size_t>(i)]))
        finite = false;
    }
  });
  if (!finite) return {};
  ValueRange range;
  for (const float v : highest) range.highest = std::max(range.highest, v);
  range.highest = std::min(range.highest, most);
  return range;
}

Tensor clamp_then_train(const Tensor& x, const Tensor& residual, float most,
                        const std::shared_ptr<const ElementwiseOp>& then) {
  check(x, residual);
  const ClampedSum clamped{x.detach(), residual.defined() ? residual.detach() : Tensor(), most};
  const RowBlocks blocks(x.shape());
  const Tensor y = Tensor::empty_like(x);
  float* to = y.mutable_data<float>().data();
  std::atomic<bool> finite{true};
  blocks.each([&](int64_t block, int64_t at, int64_t) {
    each_stretch(blocks, block, [&](int64_t first, int64_t n, int64_t) {
      float* const out = to + at + first;
      if (!then->forward(clamped.run(at + first, n, *then, out), out, n)) finite = false;
    });
  });
  NIBBLE_CHECK(finite, then->name(), ": expected finite numbers, got infinity or NaN in the clamp of ", x.shape());
  return record(concat_text("clamp_", then->name()), y, {x, residual, then->parameter()},
                [=, twice = residual.requires_grad()](const Tensor& dy) -> Grads {
                  const Tensor g = reuse(dy);
                  const float* from = values(dy);
                  float* passed = g.mutable_data<float>().data();
                  std::vector<double> parts = stretch_sums(blocks);
                  blocks.each([&](int64_t block, int64_t at, int64_t) {
                    float scratch[ElementwiseOp::kStretch];
                    each_stretch(blocks, block, [&](int64_t first, int64_t n, int64_t index) {
                      float* const to_g = passed + at + first;
                      const float* const again = clamped.run(at + first, n, *then, scratch);
                      parts[static_cast<size_t>(index)] = then->backward_of_relu(again, from + at + first, to_g, n);
                      clamped.cut(again, to_g, n);
                    });
                  });
                  return {g, twice ? g : Tensor(), then->parameter_gradient(total_of(parts))};
                });
}

}  // namespace nibble
