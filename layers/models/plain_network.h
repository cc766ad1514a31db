#pragma once

#include "layers/models/network_builder.h"

namespace nibble {

/// What the networks of plain convolutions for ImageNet choose that HWGQ (Cai et al., CVPR 2017) and LQ-Nets (Zhang et
/// al., ECCV 2018) compare: neither local response norm nor dropout, but batch norms.
struct PlainOptions : NetworkOptions {
  double multiplier = 1;
  std::string affine = "all", activation = "relu";
  bool fc_bias = false;
  void fields(Fields& f);
};

/// One convolution of such a network.
struct PlainConv {
  const char* id = "";  ///< nodes conv<id>, pool<id>, bn<id>, relu<id>
  int out = 1;
  int kernel = 3, stride = 1, pad = 1;
  int pool = 0;  ///< window of the max-pool of stride 2 behind it; 0: none
};

/// A convolution (- pool) - BN - ReLU.
std::string plain_conv(NetworkBuilder& builder, const std::string& x, const PlainConv& conv,
                       const PlainOptions& options);
/// Flatten, two hidden layers of 4096 with BN - ReLU and the classifier: nodes flatten, fc<first>, bn<first>,
/// relu<first>, ..., fc<first + 2>.
std::string plain_head(NetworkBuilder& builder, const std::string& x, int first, const PlainOptions& options);

}  // namespace nibble
