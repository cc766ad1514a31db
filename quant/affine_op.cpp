#include "quant/affine_op.h"

#include <limits>

#include "core/kernels/elementwise/dispatch.h"

namespace nibble {

namespace {

constexpr int64_t kStretch = 1024;  ///< elements whose quotients are kept on the stack

/// Whether the rule passes what lies between its bounds, both included, and nothing else: then it may as well see x and
/// the nudged range.
bool passes_range(const AffineRange& range, const BackwardRule& rule) {
  const auto lo = static_cast<float>(range.lo), hi = static_cast<float>(range.hi);
  return rule.window(lo, hi) == BackwardRule::Window{lo, hi};
}

/// The rule sees x / S, moved to the side of lo and hi on which x lies of the nudged range: the quotient of a value on
/// the very end may come out beyond.
void gradient_block(const float* x, const float* dy, float* dx, int64_t n, const AffineRange& range,
                    const BackwardRule& rule) {
  constexpr float kBeyond = 0x1p-10f, kInfinity = std::numeric_limits<float>::infinity();
  const float scale = range.scale, lowest = range.lowest, highest = range.highest;
  const auto lo = static_cast<float>(range.lo), hi = static_cast<float>(range.hi);
  float u[kStretch];
  for (int64_t first = 0; first < n; first += kStretch) {
    const int64_t count = std::min(kStretch, n - first);
    for (int64_t i = 0; i < count; ++i) {
      const float v = x[first + i], quotient = v / scale;
      const float least = v < lowest ? -kInfinity : (v > highest ? hi + kBeyond : lo);
      const float most = v > highest ? kInfinity : (v < lowest ? lo - kBeyond : hi);
      const float raised = quotient > least ? quotient : least;
      u[i] = raised < most ? raised : most;
    }
    const auto length = static_cast<size_t>(count);
    rule.input({u, length}, {dy + first, length}, lo, hi, {dx + first, length});
  }
}

}  // namespace

void affine_gradient(const float* x, const float* dy, float* dx, int64_t n, const AffineRange& range,
                     const BackwardRule& rule) {
  const auto length = static_cast<size_t>(n);
  if (passes_range(range, rule))
    return rule.input({x, length}, {dy, length}, range.lowest, range.highest, {dx, length});
  gradient_block(x, dy, dx, n, range, rule);
}

bool AffineOp::forward(const float* x, float* y, int64_t n) const {
  const auto lo = static_cast<float>(range_.lo), hi = static_cast<float>(range_.hi);
  elementwise::kernels().snap(x, {range_.scale, 0, lo, hi, ties_ == Ties::up}, y, n);
  return true;
}

double AffineOp::backward(const float* x, const float* dy, float* dx, int64_t n) const {
  affine_gradient(x, dy, dx, n, range_, *rule_);
  return 0;
}

double AffineOp::backward_of_relu(const float* x, const float* dy, float* dx, int64_t n) const {
  if (!flat_below_zero()) return ElementwiseOp::backward_of_relu(x, dy, dx, n);
  constexpr float kAboveZero = std::numeric_limits<float>::denorm_min();
  const auto length = static_cast<size_t>(n);
  rule_->input({x, length}, {dy, length}, kAboveZero, range_.highest, {dx, length});
  return 0;
}

bool AffineOp::flat_below_zero() const { return range_.lo == 0 && passes_range(range_, *rule_); }

}  // namespace nibble
