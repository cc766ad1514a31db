#pragma once

#include <optional>
#include <unordered_map>

#include "layers/geometry.h"
#include "layers/graph.h"

namespace nibble {

/// What the layers of one network have in common.
struct NetworkStyle {
  std::string activation = "relu";  ///< a layer's type, or "none" for no such nodes
  std::string init = "he_fan_in";
  float bn_momentum = 0.9f, bn_epsilon = 1e-5f;
  bool bn_scale = true, bn_offset = true;
};

/// What every network lets a config choose.
struct NetworkOptions {
  int classes = 1000;
  std::vector<int> input{224, 224, 3};
  std::string init = "he_fan_in";
  float bn_momentum = 0.9f, bn_epsilon = 1e-5f;
  void fields(Fields& f);
  NetworkStyle style(const std::string& activation) const { return {activation, init, bn_momentum, bn_epsilon}; }
};

/// TensorFlow's VALID and SAME.
inline constexpr PadOption kValid{}, kSame{{}, true};

/// A convolution. Without `pad` the border is half the kernel, which at stride 1 keeps the extents.
struct ConvSpec {
  int out = 1;
  Extent2 kernel{3, 3};
  int stride = 1;
  std::optional<PadOption> pad{};
  int groups = 1;
  bool bias = false;
};

struct PoolSpec {
  int kernel = 2, stride = 2;
  PadOption pad{};
  bool ceil_mode = false, count_padding = false;
};

struct LinearSpec {
  int out = 1;
  bool bias = true;
  float std = 0.01f;  ///< of the weight, where the style's init is "normal"
};

/// Adds nodes to a graph and knows the shape that each yields, so that a network names only what it chooses. Every
/// function returns the name of its last node. Errors name the node: an image that has become smaller than a window is
/// found here.
class NetworkBuilder {
 public:
  /// `input` is [height, width, channels]; a node reads it under the name "input".
  NetworkBuilder(const std::vector<int>& input, NetworkStyle style);

  std::string conv(const std::string& name, const std::string& x, const ConvSpec& spec);
  std::string linear(const std::string& name, const std::string& x, const LinearSpec& spec);
  /// Without `affine` neither scale nor offset is learned.
  std::string bn(const std::string& name, const std::string& x, bool affine = true);
  /// x itself if the style's activation is "none".
  std::string act(const std::string& name, const std::string& x);
  std::string bn_act(const std::string& bn_name, const std::string& act_name, const std::string& x, bool affine = true);
  /// Nodes <prefix>.conv, <prefix>.bn and <prefix>.relu.
  std::string conv_bn_act(const std::string& prefix, const std::string& x, const ConvSpec& spec);
  std::string max_pool(const std::string& name, const std::string& x, const PoolSpec& spec);
  std::string avg_pool(const std::string& name, const std::string& x, const PoolSpec& spec);
  std::string global_avg_pool(const std::string& name, const std::string& x);
  std::string flatten(const std::string& name, const std::string& x);
  /// No node where p is 0.
  std::string dropout(const std::string& name, const std::string& x, float p);
  std::string concat(const std::string& name, const std::vector<std::string>& parts);
  std::string sum(const std::string& name, const std::string& a, const std::string& b);
  /// Any layer, from its options with a "type".
  std::string add(const std::string& name, const Json& layer, const std::vector<std::string>& inputs);

  /// Of one sample: (H, W, C), or (F).
  const Shape& shape(const std::string& node) const;
  int channels(const std::string& node) const;
  /// The finished graph.
  Graph take() { return std::move(graph_); }

 private:
  NetworkStyle style_;
  Graph graph_;
  std::unordered_map<std::string, Shape> shapes_;
};

/// `channels` of the full network times `multiplier`, rounded down, and at least 8.
int scaled_channels(int channels, double multiplier);
/// Declares the option "multiplier" that networks pass to scaled_channels.
void multiplier_field(Fields& f, double& multiplier);
/// Declares the option "activation", "relu" or "none".
void no_activation_field(Fields& f, std::string& activation);
/// Declares the options "bn_momentum" and "bn_epsilon".
void batch_norm_fields(Fields& f, float& momentum, float& epsilon);

}  // namespace nibble
