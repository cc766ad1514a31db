#pragma once

#include "layers/graph.h"

namespace nibble {

/// Residual networks for small images with three stages of basic blocks (He et al., CVPR 2016, sec. 4.2), depth 6n + 2.
/// Without an activation ("none") the quantizers in front of the convolutions are the only non-linearity, as binarized
/// networks have it: the sign of what a ReLU lets through says nothing.
struct CifarResnetOptions {
  int classes = 10;
  int width = 16;
  std::string shortcut = "A", pool = "subsample", pad = "both", order = "post", activation = "relu", init = "he_fan_in";
  std::vector<int> input{32, 32, 3};
  void fields(Fields& f);
};

/// `blocks` = n blocks in each stage. Node names follow PyTorch's: conv1, bn1, layer1.0.conv1, ..., layer2.0.shortcut
/// (option A) or layer2.0.shortcut.0 and .1 (option B), linear. Orders:
///   "post"  conv - BN - ReLU - conv - BN - add - ReLU
///   "pre"   BN - ReLU - conv - BN - ReLU - conv - add, BN - ReLU before the global pool (He et al., ECCV 2016). A
///   block
///           that changes the shape gives the activated tensor to its option-B convolution, which has no BN; option A
///           takes the block's input. The very first block has no BN - ReLU of its own: the stem has one.
///   "lq"    "pre" with one more BN behind each block's second convolution; BN - ReLU end each stage, so that a stage's
///           first block begins with its convolution (LQ-Nets' code). The option-B convolution has a BN.
Graph cifar_resnet(int blocks, const CifarResnetOptions& options);

}  // namespace nibble
