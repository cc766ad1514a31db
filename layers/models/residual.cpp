#include "layers/models/residual.h"

#include "layers/foreign_weights.h"

namespace nibble {

void ResidualStyle::fields(Fields& f) {
  f.choice("shortcut", shortcut, {"A", "B"},
           "where a block changes the shape: A has no parameters, B a 1x1 convolution");
  f.choice("pool", pool, {"subsample", "average"}, "shortcut A: how it shrinks the image");
  f.choice("pad", pad, {"both", "behind"}, "shortcut A: on which side of the channels the zeros go");
  f.choice("order", order, {"post", "pre", "lq"},
           "post-activation, pre-activation, or pre-activation as in LQ-Nets' code (one more batch norm per block)");
  f.choice("activation", activation, {"relu", "none"},
           "none leaves the ReLUs out: for activation quantizers that take the sign themselves");
  f.choice("init", init, {"he_fan_in", "he_fan_out", "xavier"}, "how the weights are drawn");
  f.choice("affine", affine, {"all", "none"}, "which batch norms learn scale and offset; HWGQ and XNOR-Net: none");
  batch_norm_fields(f, bn_momentum, bn_epsilon);
}

NetworkStyle ResidualStyle::network() const {
  const bool learns = affine == "all";
  return {activation, init, bn_momentum, bn_epsilon, learns, learns};
}

namespace {

constexpr const char* kOptionB = "The shortcuts of these weights are convolutions: \"shortcut\": \"B\"";
NIBBLE_REGISTER_FOREIGN_WEIGHTS(
    {{}, {{"layer2.0.downsample.0.weight", kOptionB}, {"layer2.0.shortcut.0.weight", kOptionB}}});

std::vector<ConvSpec> convolutions(const BlockSpec& spec) {
  const int width = spec.width, stride = spec.stride;
  if (!spec.bottleneck) return {{.out = width, .stride = stride}, {.out = width}};
  return {{.out = width, .kernel = {1, 1}, .stride = spec.stride_first ? stride : 1},
          {.out = width, .stride = spec.stride_first ? 1 : stride},
          {.out = 4 * width, .kernel = {1, 1}}};
}

}  // namespace

std::string ResidualBuilder::stem(const std::string& conv_name, const std::string& bn_name,
                                  const std::string& relu_name, const ConvSpec& spec) {
  return net_.bn_act(bn_name, relu_name, net_.conv(conv_name, "input", spec));
}

std::string ResidualBuilder::stage(int number, const std::string& x, int blocks, const BlockSpec& spec) {
  const std::string name = "layer" + std::to_string(number);
  std::string y = x;
  BlockSpec next = spec;
  for (int i = 0; i < blocks; ++i) {
    const bool activates = style_.order == "lq" ? i > 0 : style_.order == "pre" && (number > 1 || i > 0);
    y = block(name + "." + std::to_string(i) + ".", y, next, activates);
    next.stride = 1;
  }
  return style_.order == "lq" ? net_.bn_act(name + ".bn", name + ".relu", y) : y;
}

std::string ResidualBuilder::head(const std::string& x, int classes, const std::string& pool_name,
                                  const std::string& linear_name) {
  std::string y = style_.order == "pre" ? net_.bn_act("bn", "relu", x) : x;
  y = net_.global_avg_pool(pool_name, y);
  return net_.linear(linear_name, y, {.out = classes});
}

std::string ResidualBuilder::shortcut(const std::string& prefix, const std::string& x, const std::string& active,
                                      int out, int stride) {
  if (net_.channels(x) == out && stride == 1) return x;
  const std::string name = prefix + bypass_;
  if (style_.shortcut == "A")
    return net_.add(
        name, {{"type", "shortcut_a"}, {"out", out}, {"stride", stride}, {"pool", style_.pool}, {"pad", style_.pad}},
        {x});
  const std::string y = net_.conv(name + ".0", active, {.out = out, .kernel = {1, 1}, .stride = stride});
  return style_.order == "pre" ? y : net_.bn(name + ".1", y);
}

std::string ResidualBuilder::branch(const std::string& prefix, const std::string& x,
                                    const std::vector<ConvSpec>& convs) {
  // In the pre-activation orders "bn1" is the one in front of conv1.
  const size_t first_bn = style_.order == "post" ? 1 : 2;
  std::string y = x;
  for (size_t i = 0; i < convs.size(); ++i) {
    const std::string bn_id = std::to_string(first_bn + i);
    y = net_.conv(prefix + "conv" + std::to_string(i + 1), y, convs[i]);
    if (i + 1 < convs.size()) {
      y = net_.bn_act(prefix + "bn" + bn_id, prefix + "relu" + bn_id, y);
    } else if (style_.order != "pre") {
      y = net_.bn(prefix + "bn" + bn_id, y);
    }
  }
  return y;
}

std::string ResidualBuilder::block(const std::string& prefix, const std::string& x, const BlockSpec& spec,
                                   bool activates) {
  const std::vector<ConvSpec> convs = convolutions(spec);
  const std::string active = activates ? net_.bn_act(prefix + "bn1", prefix + "relu1", x) : x;
  const std::string bypass = shortcut(prefix, x, active, convs.back().out, spec.stride);
  const std::string y = net_.sum(prefix + "add", branch(prefix, active, convs), bypass);
  return style_.order == "post" ? net_.act(prefix + "relu" + std::to_string(convs.size()), y) : y;
}

}  // namespace nibble
