#include "layers/models/cifar_resnet.h"

#include "layers/model.h"
#include "layers/models/image_shape.h"

namespace nibble {

void CifarResnetOptions::fields(Fields& f) {
  f("classes", classes, "outputs", {1, 1 << 20});
  f("width", width, "channels of the first stage; the next two have twice and four times as many", {1, 4096});
  f.choice("shortcut", shortcut, {"A", "B"},
           "where a block changes the shape: A has no parameters, B a 1x1 convolution");
  f.choice("pool", pool, {"subsample", "average"}, "shortcut A: how it shrinks the image");
  f.choice("pad", pad, {"both", "behind"}, "shortcut A: on which side of the channels the zeros go");
  f.choice("order", order, {"post", "pre", "lq"},
           "post-activation, pre-activation, or pre-activation as in LQ-Nets' code (one more batch norm per block)");
  f.choice("activation", activation, {"relu", "none"},
           "none leaves the ReLUs out: for activation quantizers that take the sign themselves");
  f.choice("init", init, {"he_fan_in", "he_fan_out", "xavier"}, "how the weights are drawn");
  f("input", input, "height, width and channels of an image", {1, 4096});
}

namespace {

/// Adds the nodes of one network; every function returns the name of its last node.
class Builder {
 public:
  Builder(int blocks, const CifarResnetOptions& options)
      : blocks_(blocks), options_(options), graph_(image_shape(options.input)) {}

  Graph build() {
    const int width = options_.width;
    std::string x = conv("conv1", "input", options_.input[2], width, 3, 1);
    channels_ = width;
    x = bn_relu("bn1", "relu1", x);
    for (int stage = 1; stage <= 3; ++stage) {
      const std::string name = "layer" + std::to_string(stage);
      for (int i = 0; i < blocks_; ++i) {
        const int stride = stage > 1 && i == 0 ? 2 : 1;
        x = block(name + "." + std::to_string(i) + ".", x, width << (stage - 1), stride, stage, i);
      }
      if (options_.order == "lq") x = bn_relu(name + ".bn", name + ".relu", x);
    }
    if (options_.order == "pre") x = bn_relu("bn", "relu", x);
    x = graph_.add("pool", {{"type", "global_avg_pool"}}, {x});
    graph_.add("linear", {{"type", "linear"}, {"in", channels_}, {"out", options_.classes}, {"init", options_.init}},
               {x});
    return std::move(graph_);
  }

 private:
  std::string conv(const std::string& name, const std::string& x, int in, int out, int kernel, int stride) {
    return graph_.add(name,
                      {{"type", "conv2d"},
                       {"in", in},
                       {"out", out},
                       {"kernel", kernel},
                       {"stride", stride},
                       {"pad", kernel / 2},
                       {"bias", false},
                       {"init", options_.init}},
                      {x});
  }

  std::string bn(const std::string& name, const std::string& x) {
    return graph_.add(name, {{"type", "batch_norm"}, {"channels", channels_}}, {x});
  }

  std::string relu(const std::string& name, const std::string& x) {
    return options_.activation == "none" ? x : graph_.add(name, {{"type", "relu"}}, {x});
  }

  std::string bn_relu(const std::string& bn_name, const std::string& relu_name, const std::string& x) {
    return relu(relu_name, bn(bn_name, x));
  }

  /// `x` is the block's input and `active` the same after the block's own BN and ReLU, if it has them.
  std::string shortcut(const std::string& prefix, const std::string& x, const std::string& active, int out,
                       int stride) {
    if (channels_ == out && stride == 1) return x;
    if (options_.shortcut == "A") {
      const Json layer{
          {"type", "shortcut_a"}, {"out", out}, {"stride", stride}, {"pool", options_.pool}, {"pad", options_.pad}};
      return graph_.add(prefix + "shortcut", layer, {x});
    }
    const std::string y = conv(prefix + "shortcut.0", active, channels_, out, 1, stride);
    if (options_.order == "pre") return y;
    return graph_.add(prefix + "shortcut.1", {{"type", "batch_norm"}, {"channels", out}}, {y});
  }

  std::string block(const std::string& prefix, const std::string& x, int out, int stride, int stage, int index) {
    const bool post = options_.order == "post";
    const bool activates = options_.order == "lq" ? index > 0 : !post && (stage > 1 || index > 0);
    const std::string active = activates ? bn_relu(prefix + "bn1", prefix + "relu1", x) : x;
    const std::string bypass = shortcut(prefix, x, active, out, stride);
    std::string y = conv(prefix + "conv1", active, channels_, out, 3, stride);
    channels_ = out;
    // In the pre-activation orders "bn1" is the one in front of conv1.
    y = bn_relu(prefix + (post ? "bn1" : "bn2"), prefix + (post ? "relu1" : "relu2"), y);
    y = conv(prefix + "conv2", y, out, out, 3, 1);
    if (post) y = bn(prefix + "bn2", y);
    if (options_.order == "lq") y = bn(prefix + "bn3", y);
    y = graph_.add(prefix + "add", {{"type", "add"}}, {y, bypass});
    return post ? relu(prefix + "relu2", y) : y;
  }

  int blocks_;
  const CifarResnetOptions& options_;
  Graph graph_;
  int channels_ = 0;  ///< of the tensor the next node reads
};

struct AnyDepthOptions : CifarResnetOptions {
  int depth = 20;
  void fields(Fields& f) {
    f("depth", depth, "number of layers with weights, shortcuts aside: 6n + 2", {8, 1202});
    CifarResnetOptions::fields(f);
  }
};

Graph resnet_of_any_depth(const AnyDepthOptions& options) {
  NIBBLE_CHECK(options.depth % 6 == 2, "depth must be 6n + 2 (8, 14, 20, ...), got ", options.depth);
  return cifar_resnet((options.depth - 2) / 6, options);
}

template <int Depth>
Graph resnet(const CifarResnetOptions& options) {
  return cifar_resnet((Depth - 2) / 6, options);
}

NIBBLE_REGISTER_MODEL(CifarResnetOptions, resnet<20>, "resnet20", "CIFAR residual network with 20 layers.");
NIBBLE_REGISTER_MODEL(CifarResnetOptions, resnet<32>, "resnet32", "CIFAR residual network with 32 layers.");
NIBBLE_REGISTER_MODEL(CifarResnetOptions, resnet<44>, "resnet44", "CIFAR residual network with 44 layers.");
NIBBLE_REGISTER_MODEL(CifarResnetOptions, resnet<56>, "resnet56", "CIFAR residual network with 56 layers.");
NIBBLE_REGISTER_MODEL(CifarResnetOptions, resnet<110>, "resnet110", "CIFAR residual network with 110 layers.");
NIBBLE_REGISTER_MODEL(AnyDepthOptions, resnet_of_any_depth, "resnet_cifar", "CIFAR residual network of any depth.");

}  // namespace

Graph cifar_resnet(int blocks, const CifarResnetOptions& options) { return Builder(blocks, options).build(); }

}  // namespace nibble
