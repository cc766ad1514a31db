#pragma once

#include "layers/models/network_builder.h"

namespace nibble {

/// What the residual networks of all families choose: where batch norm and ReLU stand, and how a block bypasses a
/// change of shape.
struct ResidualStyle {
  std::string shortcut = "A", pool = "subsample", pad = "both", order = "post", activation = "relu", init = "he_fan_in",
              affine = "all";
  float bn_momentum = 0.9f, bn_epsilon = 1e-5f;
  NetworkStyle network() const;
  void fields(Fields& f);
};

/// The residual blocks of a stage (He et al., CVPR 2016, fig. 5).
struct BlockSpec {
  int width = 16;  ///< of the 3x3 convolutions; a block yields as many channels, a bottleneck four times as many
  int stride = 1;
  bool bottleneck = false;    ///< 1x1 - 3x3 - 1x1 in place of 3x3 - 3x3
  bool stride_first = false;  ///< the bottleneck's stride stands on the first 1x1, as in the paper, not on the 3x3
};

/// Adds the nodes of one residual network to a graph. Every function returns the name of its last node. Orders:
///   "post"  conv - BN - ReLU - conv - BN - add - ReLU
///   "pre"   BN - ReLU - conv - BN - ReLU - conv - add, BN - ReLU before the global pool (He et al., ECCV 2016). A
///           block that changes the shape gives the activated tensor to its option-B convolution, which has no BN;
///           option A takes the block's input. The very first block has no BN - ReLU of its own: the stem has one.
///   "lq"    "pre" with one more BN behind each block's last convolution; BN - ReLU end each stage, so that a stage's
///           first block begins with its convolution (LQ-Nets' code). The option-B convolution has a BN.
/// A bottleneck has three convolutions in place of two.
class ResidualBuilder {
 public:
  /// `bypass` names the shortcut of a block: "shortcut" gives layer2.0.shortcut.0. Keeps a reference to `style`.
  ResidualBuilder(const std::vector<int>& input, const ResidualStyle& style, std::string bypass)
      : style_(style), bypass_(std::move(bypass)), net_(input, style.network()) {}

  /// Convolution, BN and ReLU.
  std::string stem(const std::string& conv_name, const std::string& bn_name, const std::string& relu_name,
                   const ConvSpec& spec);
  /// Blocks "layer<number>.0." and so on; the first has the stride. Stages are numbered from 1.
  std::string stage(int number, const std::string& x, int blocks, const BlockSpec& spec);
  /// What the order asks for behind the last stage, the global average pool and the classifier.
  std::string head(const std::string& x, int classes, const std::string& pool_name, const std::string& linear_name);

  NetworkBuilder& net() { return net_; }

 private:
  /// `x` is the block's input and `active` the same after the block's own BN and ReLU, if it has them.
  std::string shortcut(const std::string& prefix, const std::string& x, const std::string& active, int out, int stride);
  /// The block's convolutions, with BN - ReLU between them.
  std::string branch(const std::string& prefix, const std::string& x, const std::vector<ConvSpec>& convs);
  std::string block(const std::string& prefix, const std::string& x, const BlockSpec& spec, bool activates);

  const ResidualStyle& style_;
  std::string bypass_;
  NetworkBuilder net_;
};

}  // namespace nibble
