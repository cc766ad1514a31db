#include <array>

#include "layers/model.h"
#include "layers/models/network_builder.h"

namespace nibble {
namespace {

struct Vgg16Options : NetworkOptions {
  double multiplier = 1;
  float dropout = 0.5f;
  std::string activation = "relu";
  void fields(Fields& f) {
    NetworkOptions::fields(f);
    multiplier_field(f, multiplier);
    f("dropout", dropout, "part of each hidden layer that is dropped", {0, 0.99});
    no_activation_field(f, activation);
  }
};

/// VGG-16 with batch norm (Simonyan and Zisserman, ICLR 2015, configuration D). Nodes have torchvision's names:
/// features.0 (convolution), features.1 (BN), features.2 (ReLU), ..., features.43 (pool), flatten, classifier.0, ...,
/// classifier.6.
Graph vgg16_bn(const Vgg16Options& options) {
  constexpr int kPool = 0;
  constexpr std::array<int, 18> kLayers{64,    64,  kPool, 128, 128,   kPool, 256, 256, 256,
                                        kPool, 512, 512,   512, kPool, 512,   512, 512, kPool};
  NetworkBuilder builder(options.input, options.style(options.activation));
  int index = 0;
  const auto feature = [&index] { return "features." + std::to_string(index++); };
  std::string x = "input";
  for (const int out : kLayers) {
    if (out == kPool) {
      x = builder.max_pool(feature(), x, {});
      continue;
    }
    x = builder.conv(feature(), x, {.out = scaled_channels(out, options.multiplier), .bias = true});
    x = builder.bn(feature(), x);
    x = builder.act(feature(), x);
  }
  const int hidden = scaled_channels(4096, options.multiplier);
  x = builder.flatten("flatten", x);
  x = builder.act("classifier.1", builder.linear("classifier.0", x, {.out = hidden}));
  x = builder.dropout("classifier.2", x, options.dropout);
  x = builder.act("classifier.4", builder.linear("classifier.3", x, {.out = hidden}));
  x = builder.dropout("classifier.5", x, options.dropout);
  builder.linear("classifier.6", x, {.out = options.classes});
  return builder.take();
}

NIBBLE_REGISTER_MODEL(Vgg16Options, vgg16_bn, "vgg16_bn", "VGG-16 with batch norm.");

}  // namespace
}  // namespace nibble
