#include <algorithm>

#include "layers/foreign_weights.h"
#include "layers/model.h"
#include "layers/models/network_builder.h"

namespace nibble {
namespace {

struct InceptionOptions : NetworkOptions {
  double multiplier = 1;
  bool aux = false, bn_scale = true, count_padding = false;
  std::string activation = "relu";
  float dropout = 0.2f;
  InceptionOptions() {
    input = {299, 299, 3};
    bn_momentum = 0.9997f;  // for hundreds of thousands of steps; 0.9 suits short runs
    bn_epsilon = 1e-3f;
  }

  void fields(Fields& f) {
    NetworkOptions::fields(f);
    multiplier_field(f, multiplier);
    f("aux", aux, "add the auxiliary classifier, the second output: it takes part in training (see loss.auxiliary)");
    f.choice("activation", activation, {"relu", "relu6", "none"}, "behind every batch norm");
    f("bn_scale", bn_scale, "the batch norms learn a scale, too; TensorFlow's slim: an offset only");
    f("count_padding", count_padding, "the average pools count the border's zeros, as torchvision's do");
    f("dropout", dropout, "part of the features dropped in front of the classifier", {0, 0.99});
  }
};

/// A convolution of a branch: its name, channels, kernel, stride and border.
struct Step {
  const char* name = "";
  int out = 1;
  Extent2 kernel{1, 1};
  int stride = 1;
  std::optional<PadOption> pad{};
};

constexpr Extent2 kThree{3, 3}, kFive{5, 5}, kRow{1, 7}, kColumn{7, 1};

/// The blocks of Inception-v3 (Szegedy et al., CVPR 2016, fig. 5 to 7). Each returns the join of its branches.
class Inception {
 public:
  explicit Inception(const InceptionOptions& options)
      : options_(options),
        net_(options.input,
             {options.activation, options.init, options.bn_momentum, options.bn_epsilon, options.bn_scale}) {}

  /// Convolutions with BN and activation, one behind the other.
  std::string chain(const std::string& prefix, std::string x, const std::vector<Step>& steps) {
    for (const Step& step : steps)
      x = net_.conv_bn_act(prefix + step.name, x, {scaled(step.out), step.kernel, step.stride, step.pad, 1, false});
    return x;
  }

  std::string stem(const std::string& input) {
    std::string x = chain("", input,
                          {{"Conv2d_1a_3x3", 32, kThree, 2, kValid},
                           {"Conv2d_2a_3x3", 32, kThree, 1, kValid},
                           {"Conv2d_2b_3x3", 64, kThree}});
    x = net_.max_pool("maxpool1", x, {.kernel = 3});
    x = chain("", x, {{"Conv2d_3b_1x1", 80}, {"Conv2d_4a_3x3", 192, kThree, 1, kValid}});
    return net_.max_pool("maxpool2", x, {.kernel = 3});
  }

  std::string block_a(const std::string& name, const std::string& x, int pool_out) {
    return net_.concat(
        name + "concat",
        {chain(name, x, {{"branch1x1", 64}}), chain(name, x, {{"branch5x5_1", 48}, {"branch5x5_2", 64, kFive}}),
         chain(name, x, {{"branch3x3dbl_1", 64}, {"branch3x3dbl_2", 96, kThree}, {"branch3x3dbl_3", 96, kThree}}),
         pooled(name, x, pool_out)});
  }

  std::string block_b(const std::string& name, const std::string& x) {
    return net_.concat(
        name + "concat",
        {chain(name, x, {{"branch3x3", 384, kThree, 2, kValid}}),
         chain(name, x,
               {{"branch3x3dbl_1", 64}, {"branch3x3dbl_2", 96, kThree}, {"branch3x3dbl_3", 96, kThree, 2, kValid}}),
         net_.max_pool(name + "branch_pool", x, {.kernel = 3})});
  }

  /// `c` channels inside the branches of 7x7 windows, which are split into rows and columns.
  std::string block_c(const std::string& name, const std::string& x, int c) {
    return net_.concat(name + "concat",
                       {chain(name, x, {{"branch1x1", 192}}),
                        chain(name, x, {{"branch7x7_1", c}, {"branch7x7_2", c, kRow}, {"branch7x7_3", 192, kColumn}}),
                        chain(name, x,
                              {{"branch7x7dbl_1", c},
                               {"branch7x7dbl_2", c, kColumn},
                               {"branch7x7dbl_3", c, kRow},
                               {"branch7x7dbl_4", c, kColumn},
                               {"branch7x7dbl_5", 192, kRow}}),
                        pooled(name, x, 192)});
  }

  std::string block_d(const std::string& name, const std::string& x) {
    return net_.concat(name + "concat",
                       {chain(name, x, {{"branch3x3_1", 192}, {"branch3x3_2", 320, kThree, 2, kValid}}),
                        chain(name, x,
                              {{"branch7x7x3_1", 192},
                               {"branch7x7x3_2", 192, kRow},
                               {"branch7x7x3_3", 192, kColumn},
                               {"branch7x7x3_4", 192, kThree, 2, kValid}}),
                        net_.max_pool(name + "branch_pool", x, {.kernel = 3})});
  }

  std::string block_e(const std::string& name, const std::string& x) {
    const Extent2 row{1, 3}, column{3, 1};
    const std::string one = chain(name, x, {{"branch1x1", 320}});
    const std::string left = chain(name, x, {{"branch3x3_1", 384}});
    const std::string right = chain(name, x, {{"branch3x3dbl_1", 448}, {"branch3x3dbl_2", 384, kThree}});
    return net_.concat(name + "concat", {one, chain(name, left, {{"branch3x3_2a", 384, row}}),
                                         chain(name, left, {{"branch3x3_2b", 384, column}}),
                                         chain(name, right, {{"branch3x3dbl_3a", 384, row}}),
                                         chain(name, right, {{"branch3x3dbl_3b", 384, column}}), pooled(name, x, 192)});
  }

  /// The auxiliary classifier. Its 5x5 window shrinks with the map of a small image, as in TensorFlow's slim.
  std::string aux_head(const std::string& x) {
    std::string y = net_.avg_pool("AuxLogits.pool", x, {.kernel = 5, .stride = 3});
    y = chain("AuxLogits.", y, {{"conv0", 128}});
    const Shape& map = net_.shape(y);
    const Extent2 window{static_cast<int>(std::min<int64_t>(map[0], 5)),
                         static_cast<int>(std::min<int64_t>(map[1], 5))};
    y = chain("AuxLogits.", y, {{"conv1", 768, window, 1, kValid}});
    return net_.linear("AuxLogits.fc", net_.global_avg_pool("AuxLogits.avgpool", y), {.out = options_.classes});
  }

  std::string head(const std::string& x) {
    const std::string y = net_.dropout("dropout", net_.global_avg_pool("avgpool", x), options_.dropout);
    return net_.linear("fc", y, {.out = options_.classes});
  }

  Graph take() { return net_.take(); }

 private:
  int scaled(int channels) const { return scaled_channels(channels, options_.multiplier); }
  std::string pooled(const std::string& name, const std::string& x, int out) {
    const PoolSpec window{.kernel = 3, .stride = 1, .pad = {{1, 1, 1, 1}}, .count_padding = options_.count_padding};
    return chain(name, net_.avg_pool(name + "branch_avgpool", x, window), {{"branch_pool", out}});
  }

  const InceptionOptions& options_;
  NetworkBuilder net_;
};

/// Inception-v3 (Szegedy et al., CVPR 2016, table 1). Nodes have torchvision's names: Conv2d_1a_3x3.conv, .bn, .relu,
/// ..., Mixed_5b.branch1x1.conv, ..., Mixed_7c.concat, avgpool, dropout, fc; AuxLogits.conv0.conv, ..., AuxLogits.fc.
/// Outputs: fc, and AuxLogits.fc if there is an auxiliary classifier.
Graph inception_v3(const InceptionOptions& options) {
  Inception net(options);
  std::string x = net.stem("input");
  x = net.block_a("Mixed_5b.", x, 32);
  x = net.block_a("Mixed_5c.", x, 64);
  x = net.block_a("Mixed_5d.", x, 64);
  x = net.block_b("Mixed_6a.", x);
  x = net.block_c("Mixed_6b.", x, 128);
  x = net.block_c("Mixed_6c.", x, 160);
  x = net.block_c("Mixed_6d.", x, 160);
  x = net.block_c("Mixed_6e.", x, 192);
  std::vector<std::string> outputs;
  if (options.aux) outputs.push_back(net.aux_head(x));
  x = net.block_d("Mixed_7a.", x);
  x = net.block_e("Mixed_7b.", x);
  x = net.block_e("Mixed_7c.", x);
  outputs.insert(outputs.begin(), net.head(x));
  Graph graph = net.take();
  graph.set_outputs(outputs);
  return graph;
}

NIBBLE_REGISTER_FOREIGN_WEIGHTS({{},
                                 {{"AuxLogits.conv0.conv.weight",
                                   "These weights have an auxiliary classifier: \"aux\": true; and if they are "
                                   "torchvision's: \"count_padding\": true"}}});
NIBBLE_REGISTER_MODEL(InceptionOptions, inception_v3, "inception_v3", "Inception-v3, with or without auxiliary head.");

}  // namespace
}  // namespace nibble
