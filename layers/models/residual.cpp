#include "layers/models/residual.h"

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
}

std::string ResidualBuilder::stem(const std::string& conv_name, const std::string& bn_name,
                                  const std::string& relu_name, int out, int kernel, int stride) {
  const std::string x = conv(conv_name, "input", out, kernel, stride);
  channels_ = out;
  return bn_relu(bn_name, relu_name, x);
}

std::string ResidualBuilder::stage(int number, const std::string& x, int blocks, int out, int stride) {
  const std::string name = "layer" + std::to_string(number);
  std::string y = x;
  for (int i = 0; i < blocks; ++i) {
    const bool activates = style_.order == "lq" ? i > 0 : style_.order == "pre" && (number > 1 || i > 0);
    y = block(name + "." + std::to_string(i) + ".", y, out, i == 0 ? stride : 1, activates);
  }
  return style_.order == "lq" ? bn_relu(name + ".bn", name + ".relu", y) : y;
}

std::string ResidualBuilder::head(const std::string& x, int classes, const std::string& pool_name,
                                  const std::string& linear_name) {
  std::string y = style_.order == "pre" ? bn_relu("bn", "relu", x) : x;
  y = graph_.add(pool_name, {{"type", "global_avg_pool"}}, {y});
  return graph_.add(linear_name, {{"type", "linear"}, {"in", channels_}, {"out", classes}, {"init", style_.init}}, {y});
}

std::string ResidualBuilder::conv(const std::string& name, const std::string& x, int out, int kernel, int stride) {
  return graph_.add(name,
                    {{"type", "conv2d"},
                     {"in", channels_},
                     {"out", out},
                     {"kernel", kernel},
                     {"stride", stride},
                     {"pad", kernel / 2},
                     {"bias", false},
                     {"init", style_.init}},
                    {x});
}

std::string ResidualBuilder::bn(const std::string& name, const std::string& x, int channels) {
  return graph_.add(name, {{"type", "batch_norm"}, {"channels", channels}}, {x});
}

std::string ResidualBuilder::relu(const std::string& name, const std::string& x) {
  return style_.activation == "none" ? x : graph_.add(name, {{"type", "relu"}}, {x});
}

std::string ResidualBuilder::bn_relu(const std::string& bn_name, const std::string& relu_name, const std::string& x) {
  return relu(relu_name, bn(bn_name, x, channels_));
}

std::string ResidualBuilder::shortcut(const std::string& prefix, const std::string& x, const std::string& active,
                                      int out, int stride) {
  if (channels_ == out && stride == 1) return x;
  const std::string name = prefix + bypass_;
  if (style_.shortcut == "A")
    return graph_.add(
        name, {{"type", "shortcut_a"}, {"out", out}, {"stride", stride}, {"pool", style_.pool}, {"pad", style_.pad}},
        {x});
  const std::string y = conv(name + ".0", active, out, 1, stride);
  return style_.order == "pre" ? y : bn(name + ".1", y, out);
}

std::string ResidualBuilder::block(const std::string& prefix, const std::string& x, int out, int stride,
                                   bool activates) {
  const bool post = style_.order == "post";
  const std::string active = activates ? bn_relu(prefix + "bn1", prefix + "relu1", x) : x;
  const std::string bypass = shortcut(prefix, x, active, out, stride);
  std::string y = conv(prefix + "conv1", active, out, 3, stride);
  channels_ = out;
  // In the pre-activation orders "bn1" is the one in front of conv1.
  y = bn_relu(prefix + (post ? "bn1" : "bn2"), prefix + (post ? "relu1" : "relu2"), y);
  y = conv(prefix + "conv2", y, out, 3, 1);
  if (post) y = bn(prefix + "bn2", y, out);
  if (style_.order == "lq") y = bn(prefix + "bn3", y, out);
  y = graph_.add(prefix + "add", {{"type", "add"}}, {y, bypass});
  return post ? relu(prefix + "relu2", y) : y;
}

}  // namespace nibble
