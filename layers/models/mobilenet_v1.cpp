#include "layers/models/mobilenet_v1.h"

#include <algorithm>
#include <array>

#include "layers/model.h"
#include "layers/models/image_shape.h"

namespace nibble {

void MobilenetV1Options::fields(Fields& f) {
  f("classes", classes, "outputs (TensorFlow's have one more, for the background)", {1, 1 << 20});
  f("multiplier", multiplier, "depth multiplier: all channels times this, rounded down, at least 8", {0, 16, true});
  f.choice("activation", activation, {"relu6", "relu"}, "behind every batch norm");
  f.choice("init", init, {"he_fan_in", "he_fan_out", "xavier"}, "how the weights are drawn");
  f("bn_momentum", bn_momentum,
    "of the batch norms' running averages; the original's is for hundreds of thousands of steps, 0.9 suits short runs",
    kFraction);
  f("bn_epsilon", bn_epsilon, "of the batch norms", kPositive);
  f("dropout", dropout, "part of the features dropped in front of the classifier; the original's is 0.001", {0, 0.99});
  f("input", input, "height, width and channels of an image", {1, 4096});
}

namespace {

/// A convolution with a SAME border, batch norm and activation: conv<id>, bn<id>, relu<id> behind the prefix.
std::string conv_bn_relu(Graph& graph, const std::string& prefix, const std::string& id, const std::string& x,
                         Json conv, const MobilenetV1Options& options) {
  const Json out = conv["out"];
  conv.update({{"type", "conv2d"}, {"pad", "same"}, {"bias", false}, {"init", options.init}});
  std::string y = graph.add(prefix + "conv" + id, conv, {x});
  y = graph.add(
      prefix + "bn" + id,
      {{"type", "batch_norm"}, {"channels", out}, {"momentum", options.bn_momentum}, {"epsilon", options.bn_epsilon}},
      {y});
  return graph.add(prefix + "relu" + id, {{"type", options.activation}}, {y});
}

struct Block {
  int stride, out;
};

constexpr std::array<Block, 13> kBlocks{{{1, 64},
                                         {2, 128},
                                         {1, 128},
                                         {2, 256},
                                         {1, 256},
                                         {2, 512},
                                         {1, 512},
                                         {1, 512},
                                         {1, 512},
                                         {1, 512},
                                         {1, 512},
                                         {2, 1024},
                                         {1, 1024}}};

NIBBLE_REGISTER_MODEL(MobilenetV1Options, mobilenet_v1, "mobilenet_v1", "MobileNet-v1 with any depth multiplier.");

}  // namespace

int mobilenet_channels(int channels, double multiplier) { return std::max(static_cast<int>(channels * multiplier), 8); }

std::string separable_block(Graph& graph, const std::string& prefix, const std::string& x, int in, int out, int stride,
                            const MobilenetV1Options& options) {
  const Json depthwise{{"in", in}, {"out", in}, {"groups", in}, {"kernel", 3}, {"stride", stride}};
  const std::string y = conv_bn_relu(graph, prefix, "1", x, depthwise, options);
  return conv_bn_relu(graph, prefix, "2", y, {{"in", in}, {"out", out}, {"kernel", 1}}, options);
}

Graph mobilenet_v1(const MobilenetV1Options& options) {
  Graph graph(image_shape(options.input));
  int channels = mobilenet_channels(32, options.multiplier);
  const Json first{{"in", options.input[2]}, {"out", channels}, {"kernel", 3}, {"stride", 2}};
  std::string x = conv_bn_relu(graph, "", "1", "input", first, options);
  int number = 0;
  for (const Block& block : kBlocks) {
    const int out = mobilenet_channels(block.out, options.multiplier);
    x = separable_block(graph, "block" + std::to_string(++number) + ".", x, channels, out, block.stride, options);
    channels = out;
  }
  x = graph.add("avgpool", {{"type", "global_avg_pool"}}, {x});
  if (options.dropout > 0) x = graph.add("dropout", {{"type", "dropout"}, {"p", options.dropout}}, {x});
  graph.add("fc", {{"type", "linear"}, {"in", channels}, {"out", options.classes}, {"init", options.init}}, {x});
  return graph;
}

}  // namespace nibble
