#pragma once

#include "layers/graph.h"

namespace nibble {

/// Inserts quantizers into a copy of a graph (parameters copied, the original untouched). `rules` is the "quant"
/// section: a list of objects, of which the first whose "match" fits a node's name decides:
///
///     {"match": "conv1|linear", "weight": null, "act": null}
///     {"match": "*", "weight": {"type": "lsq", "bits": 2}, "act": {"type": "lsq", "bits": 2}}
///
/// "weight" goes into the weight slot of the node's layer, "act" into a new node "<node>.act" in front of its first
/// input; null or absent leaves them real. With "place": "outputs" it goes into a node "<node>.out" behind the layer
/// and what is fused with it instead, and adds, concats and the network's "input" are candidates too (see
/// output_placement.h). "grad" goes into a new node "<node>.grad" behind the layer. "fold_batch_norm": {} first makes
/// conv2d_bn of the layer and the batch norm behind it. Only layers with a weight slot (conv2d, linear) are candidates.
/// Bits, granularity ("per_channel"), backward rule ("backward"), delay and initialisation ("init") are options of the
/// quantizers. What one must know of its place (its role, output channels, fan-out, whether values may be negative) is
/// filled into its options here. Where a quantizer has an output_scale(), that goes into a node "<node>.scale" behind
/// the layer. Throws UsageError naming the rule if a pattern matches no candidate, or a method cannot sit where a rule
/// puts it.
Graph quantize(const Graph& real, const Config& rules);

/// The keys of a rule, for the reference page.
std::vector<FieldDoc> quant_rule_fields();

}  // namespace nibble
