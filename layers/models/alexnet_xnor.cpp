#include <array>

#include "layers/model.h"
#include "layers/models/network_builder.h"

namespace nibble {
namespace {

struct XnorOptions : NetworkOptions {
  double multiplier = 1;
  float dropout = 0;
  std::string activation = "none", affine = "all";
  void fields(Fields& f) {
    NetworkOptions::fields(f);
    multiplier_field(f, multiplier);
    f.choice("activation", activation, {"none", "relu"},
             "between the batch norms and the inner convolutions, whose input quantizers take the sign themselves");
    f.choice("affine", affine, {"all", "none"},
             "which batch norms learn scale and offset: one for each layer with weights, or none as in the code");
    f("dropout", dropout, "part of the input of fc6 and of fc7 that is dropped; the authors' BWN: 0.1", {0, 0.99});
  }
};

struct Inner {
  int out = 1, kernel = 3;
  bool pool = false;
};

/// AlexNet of XNOR-Net (Rastegari et al., ECCV 2016), after the authors' Torch code: behind the first layer the order
/// is BN - sign - convolution - pool, the sign being an activation quantizer. The hidden layers are convolutions that
/// cover the map. Nodes: conv1, bn1, relu1, pool1, bn2, conv2, pool2, ..., bn5, conv5, pool5, bn6, fc6, bn7, fc7, bn8,
/// relu8, fc8, flatten; with an activation relu2 to relu7, with
/// dropout drop6 and drop7.
/// Departs: bn2, which follows bn1, a ReLU and a pooling, is never affine, as there is one affine batch norm per layer.
Graph alexnet_xnor(const XnorOptions& options) {
  constexpr std::array<Inner, 4> kConvs{{{256, 5, true}, {384, 3, false}, {384, 3, false}, {256, 3, true}}};
  const bool affine = options.affine == "all";
  const auto scaled = [&options](int channels) { return scaled_channels(channels, options.multiplier); };
  NetworkBuilder builder(options.input, options.style(options.activation));
  const Json relu{{"type", "relu"}};

  std::string x =
      builder.conv("conv1", "input",
                   {.out = scaled(96), .kernel = {11, 11}, .stride = 4, .pad = PadOption{{2, 2, 2, 2}}, .bias = true});
  x = builder.add("relu1", relu, {builder.bn("bn1", x, affine)});
  x = builder.max_pool("pool1", x, {.kernel = 3});
  int number = 2;
  for (const Inner& conv : kConvs) {
    const std::string id = std::to_string(number++);
    x = builder.bn_act("bn" + id, "relu" + id, x, affine && id != "2");
    x = builder.conv("conv" + id, x, {.out = scaled(conv.out), .kernel = {conv.kernel, conv.kernel}, .bias = true});
    if (conv.pool) x = builder.max_pool("pool" + id, x, {.kernel = 3});
  }
  for (const std::string id : {"6", "7"}) {
    const Shape& map = builder.shape(x);
    const Extent2 whole{static_cast<int>(map[0]), static_cast<int>(map[1])};
    x = builder.bn_act("bn" + id, "relu" + id, x, affine);
    x = builder.dropout("drop" + id, x, options.dropout);
    x = builder.conv("fc" + id, x, {.out = scaled(4096), .kernel = whole, .pad = kValid, .bias = true});
  }
  x = builder.add("relu8", relu, {builder.bn("bn8", x, affine)});
  x = builder.conv("fc8", x, {.out = options.classes, .kernel = {1, 1}, .bias = true});
  builder.flatten("flatten", x);
  return builder.take();
}

NIBBLE_REGISTER_MODEL(XnorOptions, alexnet_xnor, "alexnet_xnor", "AlexNet of XNOR-Net.");

}  // namespace
}  // namespace nibble
