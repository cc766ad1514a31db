#pragma once

#include <vector>

#include "core/config.h"

namespace nibble::test {

inline Json with_bits(const char* type, int bits) { return {{"type", type}, {"bits", bits}}; }

/// Every network, as small as it gets.
inline std::vector<Json> small_networks() {
  const auto image = [](int side) { return Json{side, side, 3}; };
  return {
      {{"type", "resnet20"}, {"width", 4}, {"input", image(8)}},
      {{"type", "resnet32"}, {"width", 4}, {"order", "lq"}, {"shortcut", "B"}, {"input", image(8)}},
      {{"type", "resnet44"}, {"width", 4}, {"order", "pre"}, {"input", image(8)}},
      {{"type", "resnet56"}, {"width", 4}, {"pool", "average"}, {"pad", "behind"}, {"input", image(8)}},
      {{"type", "resnet_cifar"}, {"depth", 8}, {"width", 4}, {"input", image(8)}},
      {{"type", "small_resnet"}, {"width", 4}, {"input", image(8)}},
      {{"type", "resnet110"}, {"width", 4}, {"order", "pre"}, {"shortcut", "B"}, {"input", image(8)}},
      {{"type", "vgg_small"}, {"width", 4}, {"input", image(8)}},
      {{"type", "vgg7"}, {"width", 4}, {"input", image(8)}},
      {{"type", "bnn_convnet"}, {"width", 8}, {"activation", "none"}, {"input", image(8)}},
      {{"type", "alexnet_bn"}, {"multiplier", 0.04}, {"input", image(67)}},
      {{"type", "alexnet_xnor"}, {"multiplier", 0.04}, {"input", image(63)}},
      {{"type", "alexnet_dorefa"}, {"multiplier", 0.125}, {"input", image(88)}},
      {{"type", "vgg_variant"}, {"multiplier", 0.04}, {"input", image(32)}},
      {{"type", "vgg16_bn"}, {"multiplier", 0.04}, {"dropout", 0.1}, {"input", image(32)}},
      {{"type", "resnet18"}, {"width", 4}, {"stem", "3x3"}, {"order", "pre"}, {"input", image(16)}},
      {{"type", "resnet34"}, {"width", 4}, {"order", "lq"}, {"input", image(32)}},
      {{"type", "resnet50"}, {"width", 4}, {"order", "lq"}, {"shortcut", "A"}, {"input", image(32)}},
      {{"type", "resnet101"}, {"width", 4}, {"stride", "1x1"}, {"input", image(32)}},
      {{"type", "resnet152"}, {"width", 4}, {"order", "pre"}, {"input", image(32)}},
      {{"type", "densenet121"}, {"multiplier", 0.25}, {"input", image(32)}},
      {{"type", "densenet121"}, {"multiplier", 0.25}, {"order", "lq"}, {"input", image(32)}},
      {{"type", "googlenet_variant"}, {"multiplier", 0.1}, {"input", image(32)}},
      {{"type", "inception_v3"}, {"multiplier", 0.05}, {"aux", true}, {"activation", "relu6"}, {"input", image(107)}},
      {{"type", "mobilenet_v1"}, {"multiplier", 0.25}, {"input", image(32)}},
      {{"type", "squeezenext23"}, {"multiplier", 0.5}, {"input", image(35)}},
  };
}

}  // namespace nibble::test
