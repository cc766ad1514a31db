#pragma once

#include <functional>
#include <span>

#include "layers/quantizer.h"

/// What audits of methods have in common. A part is an equal, contiguous stretch of a weight (an output channel).
namespace nibble {

/// The distinct values of w in ascending order, but no more than `limit` + 1 of them. -0 counts as 0.
std::vector<float> distinct_values(std::span<const float> w, size_t limit);

/// Each of `parts` parts of w holds no values but -a, 0, a (`zero`) or -a, a, with one a > 0 per part. With `mirrored`
/// false the positive level may differ from the negative one.
Complaints levels_promise(const Tensor& w, int64_t parts, bool zero, bool mirrored = true);

/// Every element of a tensor of parameters is positive and finite.
Complaints positive_promise(std::string_view name, const Tensor& parameter);
/// For a flag that is set by the first training batch or by calibration.
Complaints started_promise(bool started);

}  // namespace nibble
