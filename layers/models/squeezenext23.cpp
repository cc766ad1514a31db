#include <array>

#include "layers/model.h"
#include "layers/models/network_builder.h"

namespace nibble {
namespace {

struct SqueezenextOptions : NetworkOptions {
  double multiplier = 2;
  std::string activation = "relu";
  SqueezenextOptions() { input = {227, 227, 3}; }
  void fields(Fields& f) {
    NetworkOptions::fields(f);
    f("multiplier", multiplier,
      "channels of the four stages: 32, 64, 128 and 256 times this, rounded down, at least 8; 2 is SqueezeNext-23-2x",
      {0, 16, true});
    no_activation_field(f, activation);
  }
};

/// Five convolutions, each with BN and ReLU: two 1x1 reduce the channels, 3x1 and 1x3 (swapped in every other block)
/// follow, and the last 1x1 expands to `out`. A stage's first block has a 1x1 convolution as its shortcut.
std::string block(NetworkBuilder& b, int number, const std::string& x, int out, int stride, bool first) {
  const std::string name = "block" + std::to_string(number) + ".";
  const bool odd = number % 2 == 1;
  const Extent2 rows{3, 1}, columns{1, 3};
  std::string y = b.conv_bn_act(name + "reduce1", x, {.out = out / 2, .kernel = {1, 1}, .stride = stride});
  y = b.conv_bn_act(name + "reduce2", y, {.out = out / 4, .kernel = {1, 1}});
  y = b.conv_bn_act(name + "separable1", y, {.out = out / 2, .kernel = odd ? rows : columns});
  y = b.conv_bn_act(name + "separable2", y, {.out = out / 2, .kernel = odd ? columns : rows});
  y = b.conv_bn_act(name + "expand", y, {.out = out, .kernel = {1, 1}});
  const ConvSpec bypass{.out = out, .kernel = {1, 1}, .stride = stride};
  return b.act(name + "relu", b.sum(name + "add", y, first ? b.conv_bn_act(name + "shortcut", x, bypass) : x));
}

/// SqueezeNext-23 (Gholami et al., CVPR workshops 2018), after the authors' 2.0-SqNxt-23. Nodes: conv1.conv, conv1.bn,
/// conv1.relu, pool1, block1.reduce1.conv, ..., block1.shortcut.conv, ..., block1.add, block1.relu, ..., conv2.relu,
/// avgpool, fc.
Graph squeezenext23(const SqueezenextOptions& options) {
  constexpr std::array<int, 4> kBlocks{6, 6, 8, 1};
  NetworkBuilder b(options.input, options.style(options.activation));
  std::string x = b.conv_bn_act("conv1", "input", {.out = 64, .kernel = {7, 7}, .stride = 2, .pad = kValid});
  x = b.max_pool("pool1", x, {.kernel = 3, .ceil_mode = true});
  int number = 0;
  for (size_t stage = 0; stage < kBlocks.size(); ++stage) {
    const int out = scaled_channels(32 << stage, options.multiplier);
    for (int i = 0; i < kBlocks[stage]; ++i) x = block(b, ++number, x, out, stage > 0 && i == 0 ? 2 : 1, i == 0);
  }
  x = b.global_avg_pool("avgpool", b.conv_bn_act("conv2", x, {.out = 128, .kernel = {1, 1}}));
  b.linear("fc", x, {.out = options.classes, .bias = false});
  return b.take();
}

NIBBLE_REGISTER_MODEL(SqueezenextOptions, squeezenext23, "squeezenext23", "SqueezeNext-23 with any depth multiplier.");

}  // namespace
}  // namespace nibble
