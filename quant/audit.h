#pragma once

#include <string>
#include <vector>

#include "layers/graph.h"
#include "layers/quantizer.h"

namespace nibble {

/// The verdict on one quantizer of a graph.
struct AuditLine {
  std::string node;
  std::string role;    ///< "weight" or "activation"
  std::string method;  ///< type of the quantizer; of a packed weight, of the one that found its grid
  int bits = 0;        ///< of its codes; 32 if it has no grid in evaluation
  int64_t levels = 0;  ///< of its grid, per channel
  int64_t used = 0;    ///< weights: most distinct values that occur in one channel
  int64_t elements = 0;
  Complaints complaints;
};

/// Checks what every method promises of a finished model, and what the particular one does (Quantizer::audit_values,
/// audit_state): its state is finite; its grid is well formed (scales positive and finite, levels in order) and its
/// codes fit the bits of its options; every weight that evaluation uses is exactly a level of its channel. A line per
/// quantizer, in the order of the graph. Never throws because of what it finds.
std::vector<AuditLine> audit(const Graph& graph);

}  // namespace nibble
