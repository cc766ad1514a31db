#pragma once

#include "layers/graph.h"

namespace nibble {

/// A copy for evaluation alone in which every layer with a quantized weight has become a plain conv2d or linear layer
/// whose weight is the quantized one, on a fixed_grid with the numbers of its grid; a batch norm that was folded into
/// the layer is in its weight and bias. It computes what the original computes in evaluation, bit for bit. Throws Error
/// naming the layer if a weight does not lie on its grid, and if no layer has a quantized weight.
Graph pack(const Graph& graph);

}  // namespace nibble
