#pragma once

#include <string>
#include <vector>

#include "layers/graph.h"

namespace nibble {

/// The faults that inject() knows.
const std::vector<std::string>& faults();

/// Breaks the arithmetic of a lowered network's first int8_conv whose output is codes, on purpose, to show that it is
/// noticed: "rounding" makes it round down, "zero_point" moves the code of 0 of its weight by one, "multiplier" changes
/// its first multiplier (or scale) by one unit in the last place. Returns the layer's name. Throws Error if there is no
/// such layer.
std::string inject(const Graph& lowered, const std::string& fault);

}  // namespace nibble
