#pragma once

#include <string>

#include "layers/graph.h"

namespace nibble {

/// Throws Error naming the node unless the lowered network fits together: every layer reads the coding that its input
/// is written in, and one blank image of the network's input shape (if it has one) passes through. Networks without
/// integer layers are not looked at.
void check_lowered(const Graph& graph);

/// The network of a file that `nibble lower` wrote, checked: forward() takes images (N, H, W, C) f32, prepared as in
/// training, and gives logits (N, classes). Several threads may run one network at once. The file is mapped: the
/// network keeps what it packed the weights into, and the file may be replaced by another (by name, as `nibble lower`
/// does). Throws Error naming the file, and the node or tensor at fault; also if the file's network was never lowered.
Graph load_lowered(const std::string& path);

/// Bytes that a lowered network's layers have packed their state into; what else they hold is in tensors, which the
/// allocator counts (core/allocator.h).
int64_t plan_bytes(const Graph& graph);

}  // namespace nibble
