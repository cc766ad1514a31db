#include "layers/models/mobilenet_v1.h"

#include <array>

#include "layers/model.h"

namespace nibble {

void MobilenetV1Options::fields(Fields& f) {
  f("classes", classes, "outputs (TensorFlow's have one more, for the background)", {1, 1 << 20});
  multiplier_field(f, multiplier);
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

NetworkStyle mobilenet_style(const MobilenetV1Options& options) {
  return {options.activation, options.init, options.bn_momentum, options.bn_epsilon};
}

std::string separable_block(NetworkBuilder& builder, const std::string& prefix, const std::string& x, int out,
                            int stride) {
  const int in = builder.channels(x);
  std::string y = builder.conv(prefix + "conv1", x, {.out = in, .stride = stride, .pad = kSame, .groups = in});
  y = builder.bn_act(prefix + "bn1", prefix + "relu1", y);
  y = builder.conv(prefix + "conv2", y, {.out = out, .kernel = {1, 1}, .pad = kSame});
  return builder.bn_act(prefix + "bn2", prefix + "relu2", y);
}

Graph mobilenet_v1(const MobilenetV1Options& options) {
  NetworkBuilder builder(options.input, mobilenet_style(options));
  const ConvSpec first{.out = scaled_channels(32, options.multiplier), .stride = 2, .pad = kSame};
  std::string x = builder.bn_act("bn1", "relu1", builder.conv("conv1", "input", first));
  int number = 0;
  for (const Block& block : kBlocks)
    x = separable_block(builder, "block" + std::to_string(++number) + ".", x,
                        scaled_channels(block.out, options.multiplier), block.stride);
  x = builder.dropout("dropout", builder.global_avg_pool("avgpool", x), options.dropout);
  builder.linear("fc", x, {.out = options.classes});
  return builder.take();
}

}  // namespace nibble
