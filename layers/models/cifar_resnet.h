#pragma once

#include "layers/models/residual.h"

namespace nibble {

/// Residual networks for small images with three stages of basic blocks (He et al., CVPR 2016, sec. 4.2), depth 6n + 2.
/// Without an activation ("none") the quantizers in front of the convolutions are the only non-linearity, as binarized
/// networks have it: the sign of what a ReLU lets through says nothing.
struct CifarResnetOptions : ResidualStyle {
  int classes = 10;
  int width = 16;
  std::vector<int> input{32, 32, 3};
  void fields(Fields& f);
};

/// `blocks` = n blocks in each stage. Node names follow PyTorch's: conv1, bn1, layer1.0.conv1, ..., layer2.0.shortcut
/// (option A) or layer2.0.shortcut.0 and .1 (option B), linear. The orders are those of ResidualBuilder.
Graph cifar_resnet(int blocks, const CifarResnetOptions& options);

}  // namespace nibble
