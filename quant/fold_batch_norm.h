#pragma once

#include <functional>

#include "layers/graph.h"

namespace nibble {

/// How fold_batch_norm() builds its layers; see BatchFold.
struct FoldOptions {
  std::string mode = "corrected";
  int64_t freeze = -1;
  double freeze_share = 0.1;
  void fields(Fields& f);
};

/// A copy of a graph in which every conv2d (linear) that only a batch_norm reads has become one conv2d_bn (linear_bn)
/// with their state, under the name of the convolution: "conv1.weight" keeps its name, "bn1.running_mean" becomes
/// "conv1.bn.running_mean". The bias of a convolution, which normalisation takes out again, is subtracted from the
/// running mean. In evaluation the copy computes what the original does. `wanted` picks among the convolutions; without
/// it all are folded. To be called before weight quantizers are put in: throws Error if a convolution has one.
Graph fold_batch_norm(const Graph& graph, const FoldOptions& options = {},
                      const std::function<bool(const Node&)>& wanted = {});

}  // namespace nibble
