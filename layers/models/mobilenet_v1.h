#pragma once

#include "layers/models/network_builder.h"

namespace nibble {

/// Depthwise separable convolutions (Howard et al., arXiv:1704.04861, table 1). Batch norm as in TensorFlow's slim.
struct MobilenetV1Options {
  int classes = 1000;
  double multiplier = 1.0;
  std::string activation = "relu6", padding = "same", init = "he_fan_in";
  float bn_momentum = 0.9997f, bn_epsilon = 1e-3f, dropout = 0;
  std::vector<int> input{224, 224, 3};
  void fields(Fields& f);
};

/// The style that the options ask for.
NetworkStyle mobilenet_style(const MobilenetV1Options& options);

/// A 3x3 depthwise and a 1x1 convolution, each with BN and activation: nodes <prefix>conv1, bn1, relu1 and
/// <prefix>conv2, bn2, relu2. `pad` is the border of the 3x3 windows.
std::string separable_block(NetworkBuilder& builder, const std::string& prefix, const std::string& x, int out,
                            int stride, const PadOption& pad);

/// A 3x3 convolution of stride 2, 13 separable blocks, global average pool, classifier. Nodes: conv1, bn1, relu1,
/// block1.conv1, ..., block13.relu2, avgpool, dropout (if it is not 0), fc.
Graph mobilenet_v1(const MobilenetV1Options& options);

}  // namespace nibble
