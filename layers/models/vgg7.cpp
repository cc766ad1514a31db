#include "layers/model.h"
#include "layers/models/vgg_small.h"

namespace nibble {
namespace {

/// VGG-7 of ternary weight networks (Li et al., arXiv:1605.04711, sec. 3.1): VGG-Small with a hidden layer of 1024.
/// Nodes: those of small_vgg_features, fc1, bn_fc1, relu_fc1, fc2.
Graph vgg7(const SmallVggOptions& options) {
  NetworkBuilder builder(options.input, options.style());
  std::string x = small_vgg_features(builder, options.width, false, "all");
  x = builder.linear("fc1", x, {.out = 8 * options.width, .bias = false});
  x = builder.bn_act("bn_fc1", "relu_fc1", x);
  builder.linear("fc2", x, {.out = options.classes});
  return builder.take();
}

NIBBLE_REGISTER_MODEL(SmallVggOptions, vgg7, "vgg7", "VGG-7 of ternary weight networks, for 32x32 images.");

}  // namespace
}  // namespace nibble
