#pragma once

#include <memory>
#include <string_view>

#include "core/grid.h"
#include "quant/backward_rule.h"

namespace nibble {

/// y = snap(x, grid), recorded under `name` with a backward rule in place of the derivative that steps do not have:
/// all that a quantizer needs whose grid is not learned by gradients. The rule sees x in units of the code, (x -
/// offset) / scale, where the grid is uniform and x itself where not, between the lowest and the highest level of the
/// element's channel. Channels are equal parts of x. A Real grid gives x itself. Throws Error naming `name` if x is not
/// finite.
Tensor straight_through(std::string_view name, const Tensor& x, const Grid& grid,
                        std::shared_ptr<const BackwardRule> rule);

}  // namespace nibble
