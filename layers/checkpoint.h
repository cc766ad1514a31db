#pragma once

#include <map>
#include <string>

#include "core/safetensors.h"
#include "layers/graph.h"

namespace nibble {

/// A trained or half-trained network in one safetensors file. Metadata: "nibble.graph" (Graph::to_json),
/// "nibble.config" (the run's resolved config or at least its model and data sections), "nibble.version". Tensors: the
/// graph's state under its own names; everything else that resuming needs under names that begin with "train/"
/// ("train/optim/...", "train/ema/...", "train/step").
struct Checkpoint {
  Graph graph;
  Config config;
  TensorFile file;  ///< everything, so that a trainer finds its own tensors
};

/// Throws Error naming the file, and the tensor if one is missing, extra or misshapen.
Checkpoint load_checkpoint(const std::string& path);
/// The same for a network that is only to be run: the file is mapped, not read, and buffers of bytes of a page and more
/// (the weights of lowered layers) stay where they lie in it (see map_safetensors). What layers work out of them takes
/// the only memory.
Checkpoint map_checkpoint(const std::string& path);
/// The same of a file that has been read already; `origin` is for messages.
Checkpoint checkpoint_from(TensorFile file, const std::string& origin);
/// Atomic. `extra` tensors are written behind the graph's state.
void save_checkpoint(const std::string& path, const Graph& graph, const Json& config,
                     const std::vector<std::pair<std::string, Tensor>>& extra = {});
/// The same, but the weight of every layer whose weight quantizer has one grid for all data, on which the weight lies,
/// is stored as packed codes: tensor "<node>.weight.codes" (see packed.h) in place of "<node>.weight". pack() in
/// quant/pack.h makes such a graph of a quantized one. load_checkpoint() reads both. Throws Error if no weight is so.
void save_packed_checkpoint(const std::string& path, const Graph& graph, const Json& config);
/// Copies tensors into the graph's state. Throws Error naming `origin` and every tensor (up to a few) that is missing,
/// extra or misshapen; names that begin with "train/" are not the graph's. Buffers of bytes that view file.mapping are
/// not copied.
void load_state(const Graph& graph, const TensorFile& file, const std::string& origin);

/// Reads weights saved by PyTorch (safetensors) into a graph built from the same architecture: strips "module.",
/// maps other projects' names ("fc", "linear", "downsample.0", "shortcut.0"; those of foreign_weights.h), takes
/// BatchNorm buffers, ignores num_batches_tracked. Throws Error like load_state.
void import_state(const Graph& graph, const TensorFile& file, const std::string& origin);

}  // namespace nibble
