#pragma once

#include <string>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"

namespace nibble {

/// How weights are drawn. From a normal distribution with mean 0: "he_fan_in" (variance 2 / fan_in; He et al., ICCV
/// 2015, eq. 10), "he_fan_out" (2 / fan_out, eq. 14), "xavier" (2 / (fan_in + fan_out); Glorot and Bengio, 2010,
/// eq. 12), "normal" (a given standard deviation). "uniform": from [-1, 1), as BinaryConnect's and BNN's code does.
const std::vector<std::string>& weight_inits();

/// Fills a weight (O, I/groups, KH, KW) or (O, I); fan_out counts one group. A pure function of rng.
void draw_weight(const Tensor& weight, const std::string& init, float std, int groups, const Rng& rng);

/// Zeros that require a gradient. Throws Error above 2^28 values, which no network here has: a misprint in
/// a config must not exhaust the memory.
Tensor new_parameter(const Shape& shape, const char* who);

}  // namespace nibble
