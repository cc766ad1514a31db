#pragma once

#include <vector>

#include "core/config.h"

namespace nibble::test {

/// Weights and activations of every layer but the first.
inline Json quantized_but_first(const Json& weight, const Json& act, const std::string& first) {
  return Json::array({{{"match", first}}, {{"match", "*"}, {"weight", weight}, {"act", act}}});
}

inline Json with_bits(const char* type, int bits) { return {{"type", type}, {"bits", bits}}; }

/// A network of the zoo, as small as it gets, and quantizers for it.
struct SmallNetwork {
  Json model, quant;
};

/// Every network, and a different method for each as far as there are any.
inline std::vector<SmallNetwork> small_networks() {
  const Json folded = Json::array({{{"match", "*"},
                                    {"place", "outputs"},
                                    {"weight", with_bits("affine", 8)},
                                    {"act", with_bits("affine", 8)},
                                    {"fold_batch_norm", Json::object()}}});
  const Json ternary{{"type", "ttq"}}, sign{{"type", "bnn"}}, xnor{{"type", "xnor"}};
  const auto lsq = [](int n, const char* first) {
    return quantized_but_first(with_bits("lsq", n), with_bits("lsq", n), first);
  };
  const auto image = [](int side) { return Json{side, side, 3}; };
  return {
      {{{"type", "resnet20"}, {"width", 4}, {"input", image(8)}}, lsq(2, "conv1")},
      {{{"type", "resnet32"}, {"width", 4}, {"order", "lq"}, {"shortcut", "B"}, {"input", image(8)}},
       quantized_but_first(with_bits("lq", 2), with_bits("lq", 2), "conv1")},
      {{{"type", "resnet44"}, {"width", 4}, {"order", "pre"}, {"input", image(8)}},
       quantized_but_first(with_bits("dorefa", 2), {{"type", "pact"}, {"bits", 4}, {"alpha", 0.5}}, "conv1")},
      {{{"type", "resnet56"}, {"width", 4}, {"pool", "average"}, {"pad", "behind"}, {"input", image(8)}},
       quantized_but_first(ternary, Json(), "conv1")},
      {{{"type", "resnet110"}, {"width", 4}, {"order", "pre"}, {"shortcut", "B"}, {"input", image(8)}},
       lsq(5, "conv1")},
      {{{"type", "vgg_small"}, {"width", 4}, {"input", image(8)}},
       quantized_but_first(with_bits("lq", 1), with_bits("hwgq", 2), "conv1_1")},
      {{{"type", "vgg7"}, {"width", 4}, {"input", image(8)}},
       quantized_but_first({{"type", "twn"}}, Json(), "conv1_1")},
      {{{"type", "bnn_convnet"}, {"width", 8}, {"activation", "none"}, {"input", image(8)}},
       quantized_but_first(sign, sign, "conv1_1")},
      {{{"type", "alexnet_bn"}, {"multiplier", 0.04}, {"input", image(67)}},
       quantized_but_first(with_bits("abc", 2), with_bits("abc", 2), "conv1")},
      {{{"type", "alexnet_xnor"}, {"multiplier", 0.04}, {"input", image(63)}},
       Json::array({{{"match", "conv1|fc8"}}, {{"match", "*"}, {"weight", xnor}, {"act", xnor}}})},
      {{{"type", "alexnet_dorefa"}, {"multiplier", 0.0625}, {"input", image(56)}},
       quantized_but_first(with_bits("dorefa", 1), with_bits("dorefa", 2), "conv0")},
      {{{"type", "vgg_variant"}, {"multiplier", 0.04}, {"input", image(32)}},
       quantized_but_first(with_bits("qil", 3), with_bits("qil", 3), "conv1")},
      {{{"type", "vgg16_bn"}, {"multiplier", 0.04}, {"dropout", 0.1}, {"input", image(32)}}, folded},
      {{{"type", "resnet18"}, {"width", 4}, {"stem", "3x3"}, {"order", "pre"}, {"input", image(16)}}, lsq(4, "conv1")},
      {{{"type", "resnet34"}, {"width", 4}, {"order", "lq"}, {"input", image(32)}},
       quantized_but_first(with_bits("lq", 3), with_bits("lq", 3), "conv1")},
      {{{"type", "resnet50"}, {"width", 4}, {"order", "lq"}, {"shortcut", "A"}, {"input", image(32)}}, lsq(3, "conv1")},
      {{{"type", "resnet101"}, {"width", 4}, {"stride", "1x1"}, {"input", image(32)}},
       quantized_but_first({{"type", "bwn"}}, Json(), "conv1")},
      {{{"type", "resnet152"}, {"width", 4}, {"order", "pre"}, {"input", image(32)}}, lsq(8, "conv1")},
      {{{"type", "densenet121"}, {"multiplier", 0.25}, {"input", image(32)}}, lsq(4, "features.conv0")},
      {{{"type", "densenet121"}, {"multiplier", 0.25}, {"order", "lq"}, {"input", image(32)}},
       quantized_but_first(with_bits("lq", 2), with_bits("lq", 2), "features.conv0")},
      {{{"type", "googlenet_variant"}, {"multiplier", 0.1}, {"input", image(32)}},
       quantized_but_first({{"type", "binaryconnect"}}, with_bits("hwgq", 2), "conv1.conv")},
      {{{"type", "inception_v3"}, {"multiplier", 0.05}, {"aux", true}, {"activation", "relu6"}, {"input", image(107)}},
       folded},
      {{{"type", "mobilenet_v1"}, {"multiplier", 0.25}, {"input", image(32)}}, folded},
      {{{"type", "squeezenext23"}, {"multiplier", 0.5}, {"input", image(35)}}, lsq(3, "conv1.conv")},
  };
}

}  // namespace nibble::test
