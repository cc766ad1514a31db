#include <cmath>

#include "core/registry.h"
#include "tests/layers/support.h"
#include "tests/quant/small_networks.h"

using namespace nibble;
using namespace nibble::test;

namespace {

bool has_option(const Json& model, const std::string& key) {
  return std::ranges::any_of(Registry<Graph>::get().find(Config(model)).fields,
                             [&](const FieldDoc& field) { return field.key == key; });
}

std::vector<Json> batch_norms(const Json& model) {
  std::vector<Json> found;
  const Graph graph = build_model(Config(model));
  for (const Node& node : graph.nodes())
    if (node.layer->type() == "batch_norm") found.push_back(node.layer->config());
  return found;
}

}  // namespace

TEST_CASE("models: every batch norm of a network has the epsilon and momentum that the config names") {
  for (Json model : small_networks()) {
    CAPTURE(model.dump());
    if (model["type"] == "small_resnet") continue;
    model["bn_epsilon"] = 0.25;
    model["bn_momentum"] = 0.5;
    const std::vector<Json> norms = batch_norms(model);
    CHECK(norms.size() >= 3);
    for (const Json& norm : norms) {
      CHECK(norm["epsilon"] == 0.25);
      CHECK(norm["momentum"] == 0.5);
    }
  }
}

TEST_CASE("models: residual networks without affine batch norms have only weights and the classifier's bias") {
  int tried = 0;
  for (Json model : small_networks()) {
    if (!has_option(model, "shortcut")) continue;
    CAPTURE(model.dump());
    model["affine"] = "none";
    for (const NamedTensor& named : parameters_of(build_model(Config(model))))
      CHECK((named.tensor.rank() > 1 || named.name == "fc.bias" || named.name == "linear.bias"));
    ++tried;
  }
  CHECK(tried >= 10);
}

TEST_CASE("models: weights are drawn from [-1, 1) where the config says so") {
  const Graph graph = build_model(Config(Json{{"type", "bnn_convnet"}, {"width", 16}, {"init", "uniform"}}));
  graph.initialize(3);
  for (const NamedTensor& named : parameters_of(graph)) {
    if (named.tensor.rank() == 1) continue;
    CAPTURE(named.name);
    double sum = 0, squares = 0, largest = 0;
    for (const float w : named.tensor.data<float>()) {
      sum += w;
      squares += double{w} * w;
      largest = std::max(largest, std::abs(double{w}));
    }
    const double n = static_cast<double>(named.tensor.numel());
    CHECK(largest <= 1);
    CHECK(std::abs(sum / n) < 3 / std::sqrt(n));
    CHECK(squares / n == doctest::Approx(1.0 / 3).epsilon(3 / std::sqrt(n)));
  }
}

TEST_CASE("models: XNOR-Net's AlexNet drops a part of what its hidden layers read") {
  const Graph graph = build_model(
      Config(Json{{"type", "alexnet_xnor"}, {"multiplier", 0.04}, {"input", {63, 63, 3}}, {"dropout", 0.1}}));
  for (const std::string id : {"6", "7"}) {
    CHECK(graph.node("drop" + id).layer->config()["p"].get<double>() == doctest::Approx(0.1));
    CHECK(graph.node("fc" + id).inputs[0] == "drop" + id);
  }
}
