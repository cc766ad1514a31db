#pragma once

#include <string>
#include <vector>

#include "layers/graph.h"

namespace nibble {

/// A graph without what only further outputs need (the auxiliary classifier of Inception-v3), or nothing at all.
struct FirstOutput {
  Graph graph;  ///< has one output; shares the layers
  std::vector<std::string> dropped;
};
FirstOutput first_output(const Graph& graph);

}  // namespace nibble
