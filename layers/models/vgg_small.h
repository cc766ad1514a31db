#pragma once

#include "layers/models/network_builder.h"

namespace nibble {

/// What the VGG-like networks for small images choose. Without an activation ("none") the quantizers in front of the
/// convolutions are the only non-linearity, as binarized networks have it.
struct SmallVggOptions {
  int classes = 10, width = 128;
  std::string activation = "relu", init = "he_fan_in";
  std::vector<int> input{32, 32, 3};
  float bn_momentum = 0.9f, bn_epsilon = 1e-5f;
  void fields(Fields& f);
  NetworkStyle style() const { return {activation, init, bn_momentum, bn_epsilon}; }
};

/// VGG-Small (HWGQ, Cai et al., CVPR 2017; LQ-Nets): 128-128-P-256-256-P-512-512-P-FC on 32x32 images.
struct VggSmallOptions : SmallVggOptions {
  std::string affine = "all";
  void fields(Fields& f);
};

/// The six 3x3 convolutions of all these networks, each followed by (pool -) BN - ReLU, and a flatten: conv1_1, bn1_1,
/// relu1_1, conv1_2, pool1, bn1_2, ..., relu3_2, flatten. Which batch norms are affine: "all", or the "last" one.
std::string small_vgg_features(NetworkBuilder& builder, int width, bool bias, const std::string& affine);

/// Nodes: those of small_vgg_features, fc.
Graph vgg_small(const VggSmallOptions& options);

}  // namespace nibble
