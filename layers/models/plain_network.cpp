#include "layers/models/plain_network.h"

namespace nibble {

void PlainOptions::fields(Fields& f) {
  NetworkOptions::fields(f);
  multiplier_field(f, multiplier);
  f.choice("affine", affine, {"all", "conv", "none"},
           "which batch norms learn scale and offset: all, those behind convolutions (LQ-Nets' code), none (HWGQ)");
  no_activation_field(f, activation);
  f("fc_bias", fc_bias, "biases in the hidden layers, as LQ-Nets' code has them");
}

std::string plain_conv(NetworkBuilder& builder, const std::string& x, const PlainConv& conv,
                       const PlainOptions& options) {
  const std::string id = conv.id;
  std::string y = builder.conv("conv" + id, x,
                               {.out = scaled_channels(conv.out, options.multiplier),
                                .kernel = {conv.kernel, conv.kernel},
                                .stride = conv.stride,
                                .pad = PadOption{{conv.pad, conv.pad, conv.pad, conv.pad}}});
  if (conv.pool > 0) y = builder.max_pool("pool" + id, y, {.kernel = conv.pool});
  return builder.bn_act("bn" + id, "relu" + id, y, options.affine != "none");
}

std::string plain_head(NetworkBuilder& builder, const std::string& x, int first, const PlainOptions& options) {
  // With "init": "normal", as in LQ-Nets' code.
  constexpr float kHiddenStd = 0.005f;
  const int hidden = scaled_channels(4096, options.multiplier);
  std::string y = builder.flatten("flatten", x);
  for (int i = first; i < first + 2; ++i) {
    const std::string id = std::to_string(i);
    y = builder.linear("fc" + id, y, {.out = hidden, .bias = options.fc_bias, .std = kHiddenStd});
    y = builder.bn_act("bn" + id, "relu" + id, y, options.affine == "all");
  }
  return builder.linear("fc" + std::to_string(first + 2), y, {.out = options.classes});
}

}  // namespace nibble
