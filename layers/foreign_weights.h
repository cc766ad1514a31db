#pragma once

#include <string>
#include <utility>
#include <vector>

namespace nibble {

/// What import_state() knows of other projects' files with weights of a network; each network's own file says it with
/// NIBBLE_REGISTER_FOREIGN_WEIGHTS. It is used for every graph: a name counts only where the graph has that node.
struct ForeignWeights {
  /// Nodes as the other project calls them and as ours are called: {"conv_stem", "conv1"} gives "conv_stem.weight" to
  /// "conv1.weight".
  std::vector<std::pair<std::string, std::string>> nodes;
  /// Tensors that give a file away, and what to tell who gave it to a network that has no place for them.
  std::vector<std::pair<std::string, std::string>> hints;
};

/// All that is registered.
const std::vector<ForeignWeights>& foreign_weights();

struct ForeignWeightsRegistrar {
  explicit ForeignWeightsRegistrar(ForeignWeights weights);
};

/// At namespace scope, with a ForeignWeights or a call that yields one.
#define NIBBLE_REGISTER_FOREIGN_WEIGHTS(...) \
  static const ::nibble::ForeignWeightsRegistrar foreign_weights_registrar(__VA_ARGS__)

}  // namespace nibble
