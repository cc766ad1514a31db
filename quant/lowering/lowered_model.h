#pragma once

#include <string>

#include "layers/graph.h"

namespace nibble {

/// Throws Error naming the node unless the lowered network fits together: every layer reads the coding that its input
/// is written in, and one blank image of the network's input shape (if it has one) passes through. Networks without
/// integer layers are not looked at.
void check_lowered(const Graph& graph);

/// The network of a file that `nibble lower` wrote, checked: forward() takes images (N, H, W, C) f32, prepared as in
/// training, and gives logits (N, classes). Several threads may run one network at once. Throws Error naming the file,
/// and the node or tensor at fault; also if the file's network was never lowered.
Graph load_lowered(const std::string& path);

}  // namespace nibble
