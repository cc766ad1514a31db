#include <array>

#include "layers/foreign_weights.h"
#include "layers/model.h"
#include "layers/models/network_builder.h"

namespace nibble {
namespace {

struct DensenetOptions : NetworkOptions {
  double multiplier = 1;
  std::string order = "standard", activation = "relu";
  void fields(Fields& f) {
    NetworkOptions::fields(f);
    f("multiplier", multiplier, "growth rate (32) and channels of the stem times this, rounded down, at least 8",
      {0, 16, true});
    f.choice("order", order, {"standard", "lq"},
             "standard: BN - ReLU in front of every convolution; lq: behind it, and none around the transitions, as in "
             "LQ-Nets' code");
    no_activation_field(f, activation);
  }
};

constexpr std::array<int, 4> kLayers{6, 12, 24, 16};

/// The names of the files that torchvision downloads; the library renames them when it loads them.
ForeignWeights published_names() {
  ForeignWeights known;
  for (size_t block = 0; block < kLayers.size(); ++block)
    for (int i = 1; i <= kLayers[block]; ++i)
      for (const std::string kind : {"norm", "conv"})
        for (const std::string id : {"1", "2"}) {
          const std::string node =
              "features.denseblock" + std::to_string(block + 1) + ".denselayer" + std::to_string(i) + "." + kind;
          known.nodes.emplace_back(node + "." + id, node + id);
        }
  return known;
}

/// norm<id>, relu<id> and a convolution conv<id> behind a prefix, the convolution last ("standard") or first ("lq").
std::string unit(NetworkBuilder& b, const std::string& prefix, const std::string& id, const std::string& x,
                 const ConvSpec& conv, bool lq) {
  const std::string before = lq ? x : b.bn_act(prefix + "norm" + id, prefix + "relu" + id, x);
  const std::string y = b.conv(prefix + "conv" + id, before, conv);
  return lq ? b.bn_act(prefix + "norm" + id, prefix + "relu" + id, y) : y;
}

/// 1x1 convolution to four times the growth, 3x3 to the growth, joined with the input.
std::string dense_layer(NetworkBuilder& b, const std::string& prefix, const std::string& x, int growth, bool lq) {
  std::string y = unit(b, prefix, "1", x, {.out = 4 * growth, .kernel = {1, 1}}, lq);
  y = unit(b, prefix, "2", y, {.out = growth}, lq);
  return lq ? b.concat(prefix + "concat", {y, x}) : b.concat(prefix + "concat", {x, y});
}

std::string transition(NetworkBuilder& b, const std::string& prefix, const std::string& x, bool lq) {
  const std::string y = lq ? x : b.bn_act(prefix + "norm", prefix + "relu", x);
  const ConvSpec halve{.out = b.channels(x) / 2, .kernel = {1, 1}};
  return b.avg_pool(prefix + "pool", b.conv(prefix + "conv", y, halve), {});
}

/// DenseNet-121 (Huang et al., CVPR 2017, table 1). Nodes have torchvision's names: features.conv0, norm0, relu0,
/// pool0, features.denseblock1.denselayer1.norm1, ..., features.transition1.norm, ..., features.norm5, relu5, avgpool,
/// classifier.
Graph densenet121(const DensenetOptions& options) {
  const int growth = scaled_channels(32, options.multiplier);
  const bool lq = options.order == "lq";
  NetworkBuilder b(options.input, options.style(options.activation));
  std::string x = b.conv("features.conv0", "input", {.out = 2 * growth, .kernel = {7, 7}, .stride = 2});
  x = b.bn_act("features.norm0", "features.relu0", x);
  x = b.max_pool("features.pool0", x, {.kernel = 3, .pad = {{1, 1, 1, 1}}});
  for (size_t block = 0; block < kLayers.size(); ++block) {
    const std::string id = std::to_string(block + 1);
    for (int i = 1; i <= kLayers[block]; ++i)
      x = dense_layer(b, "features.denseblock" + id + ".denselayer" + std::to_string(i) + ".", x, growth, lq);
    if (block + 1 < kLayers.size()) x = transition(b, "features.transition" + id + ".", x, lq);
  }
  x = b.global_avg_pool("avgpool", b.bn_act("features.norm5", "features.relu5", x));
  b.linear("classifier", x, {.out = options.classes});
  return b.take();
}

NIBBLE_REGISTER_FOREIGN_WEIGHTS(published_names());
NIBBLE_REGISTER_MODEL(DensenetOptions, densenet121, "densenet121", "DenseNet-121.");

}  // namespace
}  // namespace nibble
