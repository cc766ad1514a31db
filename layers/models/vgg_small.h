#pragma once

#include "layers/graph.h"

namespace nibble {

/// VGG-Small (HWGQ, Cai et al., CVPR 2017; LQ-Nets): 128-128-P-256-256-P-512-512-P-FC on 32x32 images.
struct VggSmallOptions {
  int classes = 10, width = 128;
  std::string affine = "all", init = "he_fan_in";
  std::vector<int> input{32, 32, 3};
  void fields(Fields& f);
};

/// Each 3x3 convolution is followed by (pool -) BN - ReLU. Nodes: conv1_1, bn1_1, relu1_1, conv1_2, pool1, bn1_2, ...,
/// flatten, fc.
Graph vgg_small(const VggSmallOptions& options);

}  // namespace nibble
