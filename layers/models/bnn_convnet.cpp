#include "layers/model.h"
#include "layers/models/vgg_small.h"

namespace nibble {
namespace {

/// The ConvNet of BinaryConnect and binarized neural networks (Courbariaux et al., NIPS 2015 and 2016, sec. 2.1): two
/// hidden layers of 1024, biases everywhere, and a batch norm even behind the classifier. Nodes: those of
/// small_vgg_features, fc1, bn_fc1, relu_fc1, fc2, bn_fc2, relu_fc2, fc3, bn_fc3.
Graph bnn_convnet(const SmallVggOptions& options) {
  NetworkBuilder builder(options.input, options.style());
  std::string x = small_vgg_features(builder, options.width, true, "all");
  for (const std::string id : {"fc1", "fc2"})
    x = builder.bn_act("bn_" + id, "relu_" + id, builder.linear(id, x, {.out = 8 * options.width}));
  builder.bn("bn_fc3", builder.linear("fc3", x, {.out = options.classes}));
  return builder.take();
}

NIBBLE_REGISTER_MODEL(SmallVggOptions, bnn_convnet, "bnn_convnet",
                      "ConvNet of BinaryConnect and binarized neural networks, for 32x32 images.");

}  // namespace
}  // namespace nibble
