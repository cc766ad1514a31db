#include "layers/models/mobilenet_v1.h"

#include <array>

#include "layers/foreign_weights.h"
#include "layers/model.h"

namespace nibble {

void MobilenetV1Options::fields(Fields& f) {
  f("classes", classes, "outputs (TensorFlow's have one more, for the background)", {1, 1 << 20});
  multiplier_field(f, multiplier);
  f.choice("activation", activation, {"relu6", "relu", "none"}, "behind every batch norm");
  f.choice("padding", padding, {"same", "symmetric"},
           "borders of the 3x3 windows: same as TensorFlow, or a pixel on every side, as PyTorch networks have them");
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

/// The names of three projects: Hugging Face's transformers, timm, and the nn.Sequential that many have copied.
std::vector<std::pair<std::string, std::string>> known_names() {
  constexpr std::array<int, 5> kStages{1, 2, 2, 6, 2};  // blocks of each of timm's
  std::vector<std::pair<std::string, std::string>> known;
  const auto unit = [&known](const std::string& conv, const std::string& bn, const std::string& prefix,
                             const std::string& id) {
    known.emplace_back(conv, prefix + "conv" + id);
    known.emplace_back(bn, prefix + "bn" + id);
  };
  const auto transformers = [&unit](const std::string& layer, const std::string& prefix, const std::string& id) {
    const std::string name = "mobilenet_v1." + layer;
    unit(name + ".convolution", name + ".normalization", prefix, id);
  };
  transformers("conv_stem", "", "1");
  unit("conv_stem", "bn1", "", "1");
  unit("model.0.0", "model.0.1", "", "1");
  int number = 0;
  for (size_t stage = 0; stage < kStages.size(); ++stage) {
    for (int i = 0; i < kStages[stage]; ++i) {
      const std::string prefix = "block" + std::to_string(++number) + ".";
      transformers("layer." + std::to_string(2 * number - 2), prefix, "1");
      transformers("layer." + std::to_string(2 * number - 1), prefix, "2");
      const std::string timm = "blocks." + std::to_string(stage) + "." + std::to_string(i) + ".";
      unit(timm + "conv_dw", timm + "bn1", prefix, "1");
      unit(timm + "conv_pw", timm + "bn2", prefix, "2");
      const std::string sequential = "model." + std::to_string(number) + ".";
      unit(sequential + "0", sequential + "1", prefix, "1");
      unit(sequential + "3", sequential + "4", prefix, "2");
    }
  }
  return known;
}

NIBBLE_REGISTER_FOREIGN_WEIGHTS(
    {known_names(),
     {{"features.1.conv.0.0.weight", "These are the weights of torchvision's MobileNet-v2; here is MobileNet-v1"},
      {"features.1.block.0.0.weight", "These are the weights of torchvision's MobileNet-v3; here is MobileNet-v1"}}});
NIBBLE_REGISTER_MODEL(MobilenetV1Options, mobilenet_v1, "mobilenet_v1", "MobileNet-v1 with any depth multiplier.");

}  // namespace

NetworkStyle mobilenet_style(const MobilenetV1Options& options) {
  return {options.activation, options.init, options.bn_momentum, options.bn_epsilon};
}

std::string separable_block(NetworkBuilder& builder, const std::string& prefix, const std::string& x, int out,
                            int stride, const PadOption& pad) {
  const int in = builder.channels(x);
  std::string y = builder.conv(prefix + "conv1", x, {.out = in, .stride = stride, .pad = pad, .groups = in});
  y = builder.bn_act(prefix + "bn1", prefix + "relu1", y);
  y = builder.conv(prefix + "conv2", y, {.out = out, .kernel = {1, 1}, .pad = kSame});
  return builder.bn_act(prefix + "bn2", prefix + "relu2", y);
}

Graph mobilenet_v1(const MobilenetV1Options& options) {
  NetworkBuilder builder(options.input, mobilenet_style(options));
  const PadOption pad = options.padding == "same" ? kSame : PadOption{{1, 1, 1, 1}};
  const ConvSpec first{.out = scaled_channels(32, options.multiplier), .stride = 2, .pad = pad};
  std::string x = builder.bn_act("bn1", "relu1", builder.conv("conv1", "input", first));
  int number = 0;
  for (const Block& block : kBlocks)
    x = separable_block(builder, "block" + std::to_string(++number) + ".", x,
                        scaled_channels(block.out, options.multiplier), block.stride, pad);
  x = builder.dropout("dropout", builder.global_avg_pool("avgpool", x), options.dropout);
  builder.linear("fc", x, {.out = options.classes});
  return builder.take();
}

}  // namespace nibble
