#pragma once

#include "layers/graph.h"

namespace nibble {

/// What the residual networks of all families choose: where batch norm and ReLU stand, and how a block bypasses a
/// change of shape.
struct ResidualStyle {
  std::string shortcut = "A", pool = "subsample", pad = "both", order = "post", activation = "relu", init = "he_fan_in";
  void fields(Fields& f);
};

/// Adds the nodes of one residual network to a graph. Every function returns the name of its last node. Orders:
///   "post"  conv - BN - ReLU - conv - BN - add - ReLU
///   "pre"   BN - ReLU - conv - BN - ReLU - conv - add, BN - ReLU before the global pool (He et al., ECCV 2016). A
///   block
///           that changes the shape gives the activated tensor to its option-B convolution, which has no BN; option A
///           takes the block's input. The very first block has no BN - ReLU of its own: the stem has one.
///   "lq"    "pre" with one more BN behind each block's second convolution; BN - ReLU end each stage, so that a stage's
///           first block begins with its convolution (LQ-Nets' code). The option-B convolution has a BN.
class ResidualBuilder {
 public:
  /// `bypass` names the shortcut of a block: "shortcut" gives layer2.0.shortcut.0. Keeps a reference to `style`.
  ResidualBuilder(const Shape& input, const ResidualStyle& style, std::string bypass)
      : style_(style), bypass_(std::move(bypass)), graph_(input), channels_(static_cast<int>(input[2])) {}

  /// Convolution, without bias and padded so that stride 1 keeps the extents, then BN and ReLU.
  std::string stem(const std::string& conv_name, const std::string& bn_name, const std::string& relu_name, int out,
                   int kernel, int stride);
  /// "layer<number>.0." and so on; the first block has the stride. Stages are numbered from 1.
  std::string stage(int number, const std::string& x, int blocks, int out, int stride);
  /// What the order asks for behind the last stage, the global average pool and the classifier.
  std::string head(const std::string& x, int classes, const std::string& pool_name, const std::string& linear_name);

  Graph& graph() { return graph_; }

 private:
  std::string conv(const std::string& name, const std::string& x, int out, int kernel, int stride);
  std::string bn(const std::string& name, const std::string& x, int channels);
  std::string relu(const std::string& name, const std::string& x);
  std::string bn_relu(const std::string& bn_name, const std::string& relu_name, const std::string& x);
  /// `x` is the block's input and `active` the same after the block's own BN and ReLU, if it has them.
  std::string shortcut(const std::string& prefix, const std::string& x, const std::string& active, int out, int stride);
  std::string block(const std::string& prefix, const std::string& x, int out, int stride, bool activates);

  const ResidualStyle& style_;
  std::string bypass_;
  Graph graph_;
  int channels_;  ///< of the tensor the next node reads
};

}  // namespace nibble
