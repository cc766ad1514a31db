#pragma once

#include <memory>

#include "layers/quantizer.h"
#include "quant/backward_rule.h"

/// Ways to put a quantizer's surrogate (layers/quantizer.h) together from its backward rule.
namespace nibble {

/// y[i] = f(c, x[i]) for x of `channels` equal parts, of which element i lies in part c.
Surrogate elementwise(size_t channels, std::function<double(size_t channel, double x)> f);

/// The rule's own function between the lowest and the highest level of every channel: offset + scale * S((x - offset) /
/// scale) on a uniform grid, S(x) on the others. Throws Error for Real.
Surrogate rule_surrogate(std::shared_ptr<const BackwardRule> rule, const Grid& grid);

}  // namespace nibble
