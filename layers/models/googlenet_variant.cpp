#include <array>

#include "layers/foreign_weights.h"
#include "layers/model.h"
#include "layers/models/network_builder.h"

namespace nibble {
namespace {

struct GooglenetOptions : NetworkOptions {
  double multiplier = 1;
  std::string affine = "all", activation = "relu";
  void fields(Fields& f) {
    NetworkOptions::fields(f);
    multiplier_field(f, multiplier);
    f.choice("affine", affine, {"all", "last"},
             "which batch norms learn scale and offset; HWGQ: those in front of the classifier only");
    no_activation_field(f, activation);
  }
};

/// Channels of the branches 1x1, 3x3 and 5x5; a block that ends a stage pools each branch.
struct Block {
  const char* id = "";
  int one = 1, three = 1, five = 1;
  bool pool = false;
};

constexpr std::array<Block, 9> kBlocks{{{"3a", 96, 128, 32, false},
                                        {"3b", 192, 192, 96, true},
                                        {"4a", 256, 208, 48, false},
                                        {"4b", 224, 224, 64, false},
                                        {"4c", 192, 256, 64, false},
                                        {"4d", 176, 288, 64, false},
                                        {"4e", 384, 320, 128, true},
                                        {"5a", 384, 320, 128, false},
                                        {"5b", 512, 384, 128, false}}};

class Builder {
 public:
  explicit Builder(const GooglenetOptions& options)
      : options_(options), net_(options.input, options.style(options.activation)) {}

  /// <prefix>.conv (- <prefix>.pool) - <prefix>.bn - <prefix>.relu.
  std::string unit(const std::string& prefix, const std::string& x, int out, int kernel, int stride, bool pool,
                   bool affine) {
    const ConvSpec spec{.out = scaled_channels(out, options_.multiplier), .kernel = {kernel, kernel}, .stride = stride};
    std::string y = net_.conv(prefix + ".conv", x, spec);
    if (pool) y = net_.max_pool(prefix + ".pool", y, {.kernel = 3, .pad = kSame});
    return net_.bn_act(prefix + ".bn", prefix + ".relu", y, affine);
  }

  std::string block(const Block& block, const std::string& x, bool last) {
    const std::string name = std::string("inception") + block.id + ".";
    const bool affine = options_.affine == "all", at_end = affine || last;
    const std::string one = unit(name + "1x1", x, block.one, 1, 1, block.pool, at_end);
    std::string three = unit(name + "3x3_reduce", x, block.three, 1, 1, false, affine);
    three = unit(name + "3x3", three, block.three, 3, 1, block.pool, at_end);
    std::string five = unit(name + "5x5_reduce", x, block.five, 1, 1, false, affine);
    five = unit(name + "5x5", five, block.five, 5, 1, block.pool, at_end);
    return net_.concat(name + "concat", {one, three, five});
  }

  NetworkBuilder& net() { return net_; }

 private:
  const GooglenetOptions& options_;
  NetworkBuilder net_;
};

/// GoogLeNet-Variant of HWGQ (Cai et al., CVPR 2017) and LQ-Nets: more 1x1 filters in place of the pooled branch.
/// Nodes: conv1.conv, conv1.pool, conv1.bn, conv1.relu, conv2_reduce.conv, ..., conv2.relu, inception3a.1x1.conv, ...,
/// inception3a.concat, ..., avgpool, fc.
Graph googlenet_variant(const GooglenetOptions& options) {
  Builder builder(options);
  const bool affine = options.affine == "all";
  std::string x = builder.unit("conv1", "input", 64, 7, 2, true, affine);
  x = builder.unit("conv2_reduce", x, 192, 1, 1, false, affine);
  x = builder.unit("conv2", x, 192, 3, 1, true, affine);
  for (const Block& block : kBlocks) x = builder.block(block, x, &block == &kBlocks.back());
  x = builder.net().global_avg_pool("avgpool", x);
  builder.net().linear("fc", x, {.out = options.classes});
  return builder.net().take();
}

NIBBLE_REGISTER_FOREIGN_WEIGHTS(
    {{},
     {{"inception3a.branch4.1.conv.weight",
       "These are the weights of torchvision's GoogLeNet, whose blocks have pooled branches and other widths; there is "
       "GoogLeNet-Variant here, which has none"}}});
NIBBLE_REGISTER_MODEL(GooglenetOptions, googlenet_variant, "googlenet_variant",
                      "GoogLeNet-Variant of HWGQ and LQ-Nets.");

}  // namespace
}  // namespace nibble
