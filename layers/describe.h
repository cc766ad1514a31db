#pragma once

#include <string>
#include <vector>

#include "layers/graph.h"

namespace nibble {

/// A row of the layer table. Counting rules: trainable scalars only; multiply-accumulates of convolutions and linear
/// layers on one sample, taps in the padding included.
struct NodeInfo {
  std::string name, type;
  std::vector<std::string> inputs;
  Shape output;            ///< of one sample, (1, ...)
  int64_t parameters = 0;  ///< trainable scalars
  int64_t macs = 0;
  int weight_bits = 0;       ///< 32 without a quantizer; 0 if the node has no weight
  int activation_bits = 32;  ///< of the output
};

/// Runs one sample of zeros through the graph in evaluation mode. Throws Error if the graph has no input shape or does
/// not run on it.
std::vector<NodeInfo> describe(const Graph& graph);

/// Bits of a grid's codes: ceil(log2(levels)), 32 for Real.
int bits_of(const Grid& grid);

}  // namespace nibble
