#pragma once

#include <array>

#include "layers/models/residual.h"

namespace nibble {

/// Residual networks for photographs: four stages of residual blocks (He et al., CVPR 2016, table 1).
struct ImagenetResnetOptions : ResidualStyle {
  int classes = 1000;
  int width = 64;
  std::string stem = "7x7";
  std::vector<int> input{224, 224, 3};
  ImagenetResnetOptions() {
    // GCC 12 warns of a copy beyond all bounds where a literal is assigned.
    shortcut = std::string("B");
    pad = std::string("behind");
  }
  void fields(Fields& f);
};

/// ResNet-50 and deeper, whose blocks are bottlenecks.
struct BottleneckResnetOptions : ImagenetResnetOptions {
  std::string stride = "3x3";
  void fields(Fields& f);
};

/// How many blocks each stage has, and of which kind: {{2, 2, 2, 2}} is ResNet-18.
struct ResnetDepth {
  std::array<int, 4> blocks{};
  bool bottleneck = false, stride_first = false;  ///< as in BlockSpec
};

/// The first block of stages 2 to 4 has stride 2. Nodes have torchvision's names where it has one: conv1, bn1, relu,
/// maxpool, layer1.0.conv1, ..., layer2.0.downsample.0 and .1 (option B), avgpool, fc. The orders are those of
/// ResidualBuilder; of "lq" the paper's ImageNet code is the model.
Graph imagenet_resnet(const ResnetDepth& depth, const ImagenetResnetOptions& options);

}  // namespace nibble
