#pragma once

#include <vector>

namespace nibble {

/// The middle one, or the mean of the middle two. Throws Error if there are none.
double median(std::vector<double> values);

}  // namespace nibble
