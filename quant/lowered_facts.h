#pragma once

#include <vector>

#include "layers/describe.h"
#include "quant/audit.h"

namespace nibble {

/// Completes the table of a lowered network, where layers keep weights as codes and write codes: weights, their bits
/// and multiply-accumulates, the bits of the outputs, and sizes (a weight's at its bits, all other numbers at 32).
void describe_lowered(const Graph& graph, std::vector<NodeInfo>& table);

/// Lines for a lowered network: one for each weight that is kept as codes and one for each layer that writes codes,
/// named after the layer's type. State must be finite, codes take bits times count, and neighbours agree on how values
/// are coded. Empty for networks that were not lowered. Never throws because of what it finds.
std::vector<AuditLine> audit_lowered(const Graph& graph);

}  // namespace nibble
