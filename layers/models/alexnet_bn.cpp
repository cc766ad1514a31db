#include <array>

#include "layers/model.h"
#include "layers/models/plain_network.h"

namespace nibble {
namespace {

struct AlexnetOptions : PlainOptions {
  AlexnetOptions() { input = {227, 227, 3}; }
};

/// AlexNet as HWGQ and LQ-Nets have it: batch norm behind every pooling, no groups. Nodes: conv1, pool1, bn1, relu1,
/// ..., relu5, flatten, fc6, bn6, relu6, fc7, bn7, relu7, fc8.
Graph alexnet_bn(const AlexnetOptions& options) {
  constexpr std::array<PlainConv, 5> kConvs{{{"1", 96, 11, 4, 0, 3},
                                             {"2", 256, 5, 1, 2, 3},
                                             {"3", 384, 3, 1, 1, 0},
                                             {"4", 384, 3, 1, 1, 0},
                                             {"5", 256, 3, 1, 1, 3}}};
  NetworkBuilder builder(options.input, options.style(options.activation));
  std::string x = "input";
  for (const PlainConv& conv : kConvs) x = plain_conv(builder, x, conv, options);
  plain_head(builder, x, 6, options);
  return builder.take();
}

NIBBLE_REGISTER_MODEL(AlexnetOptions, alexnet_bn, "alexnet_bn", "AlexNet with batch norm, of HWGQ and LQ-Nets.");

}  // namespace
}  // namespace nibble
