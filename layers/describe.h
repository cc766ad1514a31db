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
  int activation_bits = 32;  ///< of the output; layers that only pick elements keep the bits of their input
  int64_t weights = 0;       ///< elements of the weight
  bool per_channel = false;  ///< the weight's levels differ from channel to channel
  /// What the weight passes through, and what the first input has passed through: null, or the quantizer's options
  /// with its "type".
  Json weight_quantizer{}, input_quantizer{};
  /// Size in bits. A quantized weight: elements times weight_bits, and 32 for each number that describes its levels and
  /// of the bias (of the folded one, where a batch norm is folded in). All else: 32 for each f32 parameter and buffer.
  int64_t size_bits = 0;
  int64_t float_bits = 0;  ///< the same without quantizers
};

/// Runs one sample of zeros through the graph in evaluation mode. Throws Error if the graph has no input shape or does
/// not run on it.
std::vector<NodeInfo> describe(const Graph& graph);

/// Bits of a grid's codes: ceil(log2(levels)), 32 for Real.
int bits_of(const Grid& grid);

}  // namespace nibble
