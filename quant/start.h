#pragma once

#include <span>
#include <string>
#include <vector>

#include "layers/graph.h"
#include "quant/calibrate.h"

namespace nibble {

/// How one quantizer got its state, and where its levels lie then.
struct StartLine {
  std::string node;
  std::string role;    ///< "weight" or "activation"
  std::string method;  ///< type of the quantizer
  int bits = 0;
  std::string how;
  float lowest = 0, highest = 0;              ///< outermost levels of all channels
  float smallest_step = 0, largest_step = 0;  ///< between neighbouring levels, of all channels
};

/// Post-training quantization: gives every quantizer of a graph its state from the weights and from what the given
/// inputs of the network make of its activations; nothing else in the graph changes. "affine" quantizers are calibrated
/// (quant/calibrate.h). The others go through what the start of training does for them: passes in training mode and
/// what follows an update, over all batches and again while their state still changes (about 50 passes at most), while
/// all other layers work as in evaluation and affine quantizers let values through. Quantizers that fix weights phase
/// by phase keep waiting for their first phase, and evaluate with the centres that the weight gives. A line per
/// quantizer, in the order of the graph. Throws Error if there are no batches.
std::vector<StartLine> start_quantizers(const Graph& graph, std::span<const Tensor> batches,
                                        const CalibrateOptions& options = {});

}  // namespace nibble
