#include "layers/models/network_builder.h"

#include <algorithm>

#include "layers/avg_pool.h"
#include "layers/conv2d.h"
#include "layers/max_pool.h"
#include "layers/models/image_shape.h"
#include "layers/weight_init.h"

namespace nibble {
namespace {

/// A batch of no images passes through every layer at once and still has extents.
Shape batch_of_none(const Shape& sample) {
  std::vector<int64_t> dims{0};
  dims.insert(dims.end(), sample.begin(), sample.end());
  return Shape(std::span<const int64_t>(dims));
}

Json with_type(Json options, const char* type) {
  options["type"] = type;
  return options;
}

}  // namespace

void NetworkOptions::fields(Fields& f) {
  f("classes", classes, "outputs", {1, 1 << 20});
  f("input", input, "height, width and channels of an image", {1, 4096});
  f.choice("init", init, weight_inits(),
           "how the weights are drawn; normal: with a standard deviation of 0.01; uniform: from [-1, 1)");
  batch_norm_fields(f, bn_momentum, bn_epsilon);
}

NetworkBuilder::NetworkBuilder(const std::vector<int>& input, NetworkStyle style)
    : style_(std::move(style)), graph_(image_shape(input)) {
  shapes_.emplace("input", graph_.input_shape());
}

std::string NetworkBuilder::conv(const std::string& name, const std::string& x, const ConvSpec& spec) {
  const int rows = spec.kernel.h / 2, columns = spec.kernel.w / 2;
  Conv2d::Options options;
  options.in = channels(x);
  options.out = spec.out;
  options.kernel = spec.kernel;
  options.stride = {spec.stride, spec.stride};
  options.pad = spec.pad.value_or(PadOption{{rows, rows, columns, columns}});
  options.groups = spec.groups;
  options.bias = spec.bias;
  options.init = style_.init;
  return add(name, with_type(write_options(options), "conv2d"), {x});
}

std::string NetworkBuilder::linear(const std::string& name, const std::string& x, const LinearSpec& spec) {
  return add(name,
             {{"type", "linear"},
              {"in", channels(x)},
              {"out", spec.out},
              {"bias", spec.bias},
              {"init", style_.init},
              {"std", spec.std}},
             {x});
}

std::string NetworkBuilder::bn(const std::string& name, const std::string& x, bool affine) {
  return add(name,
             {{"type", "batch_norm"},
              {"channels", channels(x)},
              {"momentum", style_.bn_momentum},
              {"epsilon", style_.bn_epsilon},
              {"scale", affine && style_.bn_scale},
              {"offset", affine && style_.bn_offset}},
             {x});
}

std::string NetworkBuilder::act(const std::string& name, const std::string& x) {
  return style_.activation == "none" ? x : add(name, {{"type", style_.activation}}, {x});
}

std::string NetworkBuilder::bn_act(const std::string& bn_name, const std::string& act_name, const std::string& x,
                                   bool affine) {
  return act(act_name, bn(bn_name, x, affine));
}

std::string NetworkBuilder::conv_bn_act(const std::string& prefix, const std::string& x, const ConvSpec& spec) {
  return bn_act(prefix + ".bn", prefix + ".relu", conv(prefix + ".conv", x, spec));
}

std::string NetworkBuilder::max_pool(const std::string& name, const std::string& x, const PoolSpec& spec) {
  MaxPool::Options options;
  options.kernel = {spec.kernel, spec.kernel};
  options.stride = {spec.stride, spec.stride};
  options.pad = spec.pad;
  options.ceil_mode = spec.ceil_mode;
  return add(name, with_type(write_options(options), "max_pool"), {x});
}

std::string NetworkBuilder::avg_pool(const std::string& name, const std::string& x, const PoolSpec& spec) {
  AvgPool::Options options;
  options.kernel = {spec.kernel, spec.kernel};
  options.stride = {spec.stride, spec.stride};
  options.pad = spec.pad;
  options.ceil_mode = spec.ceil_mode;
  options.count_padding = spec.count_padding;
  return add(name, with_type(write_options(options), "avg_pool"), {x});
}

std::string NetworkBuilder::global_avg_pool(const std::string& name, const std::string& x) {
  return add(name, {{"type", "global_avg_pool"}}, {x});
}

std::string NetworkBuilder::flatten(const std::string& name, const std::string& x) {
  return add(name, {{"type", "flatten"}}, {x});
}

std::string NetworkBuilder::dropout(const std::string& name, const std::string& x, float p) {
  return p > 0 ? add(name, {{"type", "dropout"}, {"p", p}}, {x}) : x;
}

std::string NetworkBuilder::concat(const std::string& name, const std::vector<std::string>& parts) {
  return add(name, {{"type", "concat"}}, parts);
}

std::string NetworkBuilder::sum(const std::string& name, const std::string& a, const std::string& b) {
  return add(name, {{"type", "add"}}, {a, b});
}

std::string NetworkBuilder::add(const std::string& name, const Json& layer, const std::vector<std::string>& inputs) {
  graph_.add(name, layer, inputs);
  std::vector<Tensor> none;
  for (const std::string& input : inputs) none.push_back(Tensor::zeros(batch_of_none(shape(input))));
  const NoRecord guard;
  try {
    const Tensor y = graph_.nodes().back().layer->forward(none, {});
    shapes_.emplace(name, Shape(std::span<const int64_t>(y.shape().begin() + 1, y.shape().end())));
  } catch (const Error& error) {
    throw Error(concat_text("'", name, "': ", error.what()));
  }
  return name;
}

const Shape& NetworkBuilder::shape(const std::string& node) const {
  const auto found = shapes_.find(node);
  NIBBLE_CHECK(found != shapes_.end(), "network builder: there is no node '", node, "'");
  return found->second;
}

int NetworkBuilder::channels(const std::string& node) const {
  const Shape& of = shape(node);
  return static_cast<int>(of[of.rank() - 1]);
}

int scaled_channels(int channels, double multiplier) { return std::max(static_cast<int>(channels * multiplier), 8); }

void multiplier_field(Fields& f, double& multiplier) {
  f("multiplier", multiplier, "depth multiplier: all channels times this, rounded down, at least 8", {0, 16, true});
}

void no_activation_field(Fields& f, std::string& activation) {
  f.choice("activation", activation, {"relu", "none"},
           "none leaves the ReLUs out: for activation quantizers that clip or take the sign themselves");
}

void batch_norm_fields(Fields& f, float& momentum, float& epsilon) {
  f("bn_momentum", momentum, "part of the batch norms' running averages that every step keeps", kFraction);
  f("bn_epsilon", epsilon, "added to the batch norms' variances", kPositive);
}

}  // namespace nibble
