#pragma once

#include <string>
#include <vector>

#include "layers/graph.h"

namespace nibble {

/// A node of a fused graph that does the work of several: it has the name and the output of the last of them.
struct Fusion {
  std::string rule;                   ///< "norm_clamp", ...
  std::vector<std::string> absorbed;  ///< in order
};

/// A graph that computes what another one does, bit for bit, with fewer passes over memory.
struct FusedGraph {
  Graph graph;
  std::vector<Fusion> fusions;
};

/// Rewrites a graph for training and evaluation. The result shares the layers, and so the parameters, of the original,
/// which remains the definition: names, order of the state and checkpoints are the original's. Rules:
///   norm_clamp               batch_norm, then add if there is one, then relu or relu6; of these only the last has
///                            other readers
///   norm_clamp_quantize      the same and an ElementwiseQuantizer that alone reads it
///   norm_clamp_and_quantize  the same and an ElementwiseQuantizer that is one of two readers; its node remains, but is
///                            only where the result is fetched
///   clamp_quantize           relu or relu6 without a batch norm, with an add in front if there is one, and an
///                            ElementwiseQuantizer that alone reads it
FusedGraph fuse(const Graph& graph);

}  // namespace nibble
