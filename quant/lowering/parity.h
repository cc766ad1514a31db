#pragma once

#include <string>
#include <vector>

#include "layers/graph.h"

namespace nibble {

/// How far a lowered edge is from the same edge of the trained network.
struct EdgeDifference {
  int64_t codes_differ = 0;
  int max_code_gap = 0;
  /// Coded edges: by how much a code is further than half a step from the value that was rounded, in codes; codes that
  /// differ at a tie have (almost) 0 here.
  double excess = 0;
  double max_abs = 0;   ///< largest difference of the values
  double relative = 0;  ///< the same over the range of the trained network's values

  void merge(const EdgeDifference& other);
};

/// One edge that both networks have, by name.
struct EdgeParity {
  std::string node, type;  ///< in the lowered network
  bool coded = false;
  int64_t values = 0;
  /// What `excess` may be by the definition of the node's arithmetic, and of nodes that lowering put in front of it.
  double slack = 0;
  EdgeDifference codes;    ///< of the whole network up to here, from the trained one evaluated on codes (evaluated())
  EdgeDifference alone;    ///< of the node by itself, given the values of the trained network in float as its inputs
  EdgeDifference running;  ///< of the whole lowered network up to here, from the trained one in float
};

/// What compare() finds, and the outputs of the three networks.
struct Comparison {
  std::vector<EdgeParity> edges;
  Tensor trained, on_codes, lowered;
};

/// Runs the networks on a batch in evaluation mode, edge by edge: `trained` in float, `on_codes`, which is
/// evaluated(trained), and `lowered`. A value of `trained` counts as the code that lies nearest to it.
Comparison compare(const Graph& trained, const Graph& on_codes, const Graph& lowered, const Tensor& x);
/// Adds what a further batch showed; throws Error unless both are of the same networks.
void merge(std::vector<EdgeParity>& total, const std::vector<EdgeParity>& batch);

/// What parity promises of each edge. From the evaluation on codes: the same bits. From the one in float, of each node
/// by itself: codes at most one apart, and that only where the exact value is so near to a tie that the arithmetic as
/// it is defined (a bias in units of the accumulator, two roundings) may cross it; values within 1e-4 of the edge's
/// range. Returns what is broken, "" if nothing.
std::string broken(const EdgeParity& edge);

}  // namespace nibble
