#include <array>

#include "layers/model.h"
#include "layers/models/plain_network.h"

namespace nibble {
namespace {

/// VGG-Variant of HWGQ and LQ-Nets: the smaller "model A" of He et al., ICCV 2015. The first convolution has a ReLU of
/// its own in front of the pooling. Nodes: conv1, relu1_0, pool1, bn1, relu1, conv2_1, bn2_1, relu2_1, ..., conv2_3,
/// pool2_3, bn2_3, relu2_3, ..., flatten, fc5, bn5, relu5, fc6, bn6, relu6, fc7.
Graph vgg_variant(const PlainOptions& options) {
  constexpr std::array<PlainConv, 9> kConvs{{{"2_1", 256},
                                             {"2_2", 256},
                                             {"2_3", 256, 3, 1, 1, 2},
                                             {"3_1", 512},
                                             {"3_2", 512},
                                             {"3_3", 512, 3, 1, 1, 2},
                                             {"4_1", 512},
                                             {"4_2", 512},
                                             {"4_3", 512, 3, 1, 1, 2}}};
  NetworkBuilder builder(options.input, options.style(options.activation));
  const ConvSpec first{.out = scaled_channels(96, options.multiplier), .kernel = {7, 7}, .stride = 2};
  std::string x = builder.act("relu1_0", builder.conv("conv1", "input", first));
  x = builder.bn_act("bn1", "relu1", builder.max_pool("pool1", x, {}), options.affine != "none");
  for (const PlainConv& conv : kConvs) x = plain_conv(builder, x, conv, options);
  plain_head(builder, x, 5, options);
  return builder.take();
}

NIBBLE_REGISTER_MODEL(PlainOptions, vgg_variant, "vgg_variant", "VGG-Variant of HWGQ and LQ-Nets.");

}  // namespace
}  // namespace nibble
