#pragma once

#include <functional>
#include <string>
#include <vector>

#include "layers/graph.h"

namespace nibble {

/// An edge that the integer graph of Jacob et al. (CVPR 2018, sec. 3) holds in codes.
struct OutputSite {
  std::string after;  ///< whose output is quantized, or "input"
  std::string head;   ///< the layer at the beginning of the fused operator, by whose name rules choose
};

/// Where activations are quantized: the input; and behind every convolution, linear layer, add, concat and average
/// pooling, whose results are new values, together with the batch norms and activation functions that follow it as its
/// only readers; but a sum, concat or mean is quantized before a batch norm. So a branch is quantized before it is
/// added, a sum before or after its activation but never twice, and the logits. What a concat alone reads is quantized
/// behind the concat, where all parts share one scale. Max-pooling, reshaping and dropout get none of their own. In the
/// order of the graph.
std::vector<OutputSite> output_sites(const Graph& graph);

/// Makes the quantizer for a site, or null for none.
using MakeQuantizer = std::function<std::shared_ptr<Layer>(const OutputSite&)>;

/// The graph with a node "<name>.out" behind every site for which `make` gives one; everything that read the site reads
/// the node. Shares the layers.
Graph quantize_outputs(const Graph& graph, const MakeQuantizer& make);

}  // namespace nibble
