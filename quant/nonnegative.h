#pragma once

#include <string>

#include "layers/graph.h"

namespace nibble {

/// Whether the layers that make an edge (a node's name, or "input") show that no value of it is below 0: it comes from
/// a clamp at 0 or above (ReLU), by ways that select, move, average, add or join such values, or from a quantizer all
/// of whose levels are such. Says nothing of the data: false means "not known".
bool is_nonnegative(const Graph& graph, const std::string& edge);

}  // namespace nibble
