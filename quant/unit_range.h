#pragma once

#include "core/grid.h"
#include "quant/backward_rule.h"

/// Clamping to [0, range] and 2^bits equally spaced levels, 0 and range among them: DoReFa's activations (range 1) and
/// PACT (learned range).
namespace nibble {

/// The middle of the range, where a tie is exact, rounds half to even like round(x * n / range).
Uniform unit_grid(float range, int bits);

struct UnitGradients {
  Tensor dx;
  double drange = 0;
};

/// Gradients of y = snap(x, unit_grid(range, bits)) by a rule, in one pass; the rule sees u = x * n / range, which is
/// exactly n = 2^bits - 1 at x = range.
UnitGradients unit_gradients(const Tensor& x, const Tensor& dy, float range, int bits, const BackwardRule& rule);

}  // namespace nibble
