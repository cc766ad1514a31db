#include "layers/model.h"
#include "layers/models/network_builder.h"

namespace nibble {
namespace {

struct DorefaOptions : NetworkOptions {
  double multiplier = 1;
  std::string activation = "relu";
  void fields(Fields& f) {
    NetworkOptions::fields(f);
    multiplier_field(f, multiplier);
    f.choice("activation", activation, {"relu", "none"},
             "none leaves the ReLUs out: for activation quantizers that clip to [0, 1] themselves");
  }
};

/// AlexNet of DoReFa-Net (Zhou et al., arXiv:1606.06160), after tensorpack's code: 12x12 windows first, groups of two.
/// Nodes have that code's names: conv0, act0, conv1, bn1, pool1, act1, ..., act4, flatten, fc0, bnfc0, actfc0, fc1,
/// bnfc1, actfc1, fct.
Graph alexnet_dorefa(const DorefaOptions& options) {
  const auto scaled = [&options](int channels) { return scaled_channels(channels, options.multiplier); };
  NetworkBuilder b(options.input, options.style(options.activation));
  const PoolSpec same{.kernel = 3, .pad = kSame};
  std::string x =
      b.conv("conv0", "input", {.out = scaled(96), .kernel = {12, 12}, .stride = 4, .pad = kValid, .bias = true});
  x = b.conv("conv1", b.act("act0", x), {.out = scaled(256), .kernel = {5, 5}, .groups = 2});
  x = b.act("act1", b.max_pool("pool1", b.bn("bn1", x), same));
  x = b.conv("conv2", x, {.out = scaled(384)});
  x = b.act("act2", b.max_pool("pool2", b.bn("bn2", x), same));
  x = b.bn_act("bn3", "act3", b.conv("conv3", x, {.out = scaled(384), .groups = 2}));
  x = b.bn("bn4", b.conv("conv4", x, {.out = scaled(256), .groups = 2}));
  x = b.act("act4", b.max_pool("pool4", x, {.kernel = 3}));
  x = b.linear("fc0", b.flatten("flatten", x), {.out = scaled(4096)});
  x = b.linear("fc1", b.bn_act("bnfc0", "actfc0", x), {.out = scaled(4096), .bias = false});
  b.linear("fct", b.bn_act("bnfc1", "actfc1", x), {.out = options.classes});
  return b.take();
}

NIBBLE_REGISTER_MODEL(DorefaOptions, alexnet_dorefa, "alexnet_dorefa", "AlexNet of DoReFa-Net.");

}  // namespace
}  // namespace nibble
