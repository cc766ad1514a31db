#include "layers/fuse.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "core/parallel.h"
#include "tests/layers/training_step.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Json graph_json(const std::string& nodes, const std::string& outputs = "[]") {
  return parse_config(
             R"({"type": "graph", "input": [6, 5, 3], "outputs": )" + outputs + R"(, "nodes": [)" + nodes + "]}",
             "test")
      .json;
}

constexpr const char* kConv = R"({"name": "conv", "type": "conv2d", "in": 3, "out": 5, "kernel": 3, "pad": 1},)";
constexpr const char* kNorm = R"({"name": "norm", "type": "batch_norm", "channels": 5})";

std::vector<std::string> absorbed_in(const Json& model) {
  std::vector<std::string> names;
  for (const Fusion& fusion : fuse(build_model(Config(model))).fusions) {
    std::string text = fusion.rule + ":";
    for (const std::string& name : fusion.absorbed) text += " " + name;
    names.push_back(text);
  }
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("fuse: outputs, gradients and statistics are the same bits, in training and evaluation") {
  const Json image{8, 8, 3};
  for (const Json& model :
       {Json{{"type", "resnet20"}, {"width", 5}, {"input", image}},
        Json{{"type", "resnet20"}, {"width", 4}, {"shortcut", "B"}, {"input", image}},
        Json{{"type", "resnet20"}, {"width", 4}, {"order", "pre"}, {"input", image}},
        Json{{"type", "resnet20"}, {"width", 4}, {"order", "lq"}, {"shortcut", "B"}, {"input", image}},
        graph_json(std::string(kConv) + kNorm + R"(, {"name": "act", "type": "relu6"})"),
        graph_json(std::string(kConv) + R"({"name": "norm", "type": "batch_norm", "channels": 5, "scale": false},
          {"name": "sum", "type": "add", "inputs": ["conv", "norm"]}, {"name": "act", "type": "relu6"})")}) {
    CAPTURE(model.dump());
    const Graph plain = trained_model(model), copy = plain.clone();
    const FusedGraph fused = fuse(copy);
    CHECK(!fused.fusions.empty());
    CHECK(fused.graph.nodes().size() < plain.nodes().size());
    const Shape& in = plain.input_shape();
    const Tensor x = normal_tensor({3, in[0], in[1], in[2]}, 1);
    const bool same_step = step_of(plain, plain, x) == step_of(copy, fused.graph, x);
    CHECK(same_step);
    const Tensor want = plain.forward(x, {}), got = fused.graph.forward(x, {});
    CHECK(std::memcmp(want.raw(), got.raw(), want.bytes()) == 0);
    const NoRecord guard;
    const Tensor in_one_pass = fused.graph.forward(x, {});
    CHECK(std::memcmp(want.raw(), in_one_pass.raw(), want.bytes()) == 0);
    Rng rng(1), other(1);
    const Tensor silent = fused.graph.forward(x, {Mode::train, &rng}), loud = plain.forward(x, {Mode::train, &other});
    CHECK(std::memcmp(silent.raw(), loud.raw(), silent.bytes()) == 0);
    CHECK(!silent.requires_grad());
  }
}

TEST_CASE("fuse: only chains that nobody else reads are absorbed, and outputs keep their names") {
  const std::string start = std::string(kConv) + kNorm;
  CHECK(absorbed_in(graph_json(start + R"(, {"name": "act", "type": "relu"})")) == Names{"norm_clamp: norm act"});
  CHECK(absorbed_in(graph_json(start + R"(, {"name": "act", "type": "relu"},
    {"name": "more", "type": "add", "inputs": ["act", "norm"]})"))
            .empty());
  CHECK(absorbed_in(graph_json(start + R"(, {"name": "act", "type": "relu"})", R"(["norm", "act"])")).empty());
  CHECK(absorbed_in(graph_json(start + R"(, {"name": "drop", "type": "dropout"}, {"name": "act", "type": "relu"})"))
            .empty());
  const std::string sum = start + R"(, {"name": "sum", "type": "add", "inputs": ["conv", "norm"]})";
  CHECK(absorbed_in(graph_json(sum + R"(, {"name": "act", "type": "relu"})")) == Names{"norm_clamp: norm sum act"});
  CHECK(absorbed_in(graph_json(sum + R"(, {"name": "act", "type": "relu"},
    {"name": "more", "type": "add", "inputs": ["act", "sum"]})"))
            .empty());
  CHECK(absorbed_in(graph_json(start + R"(, {"name": "sum", "type": "add", "inputs": ["conv", "norm", "conv"]},
    {"name": "act", "type": "relu"})"))
            .empty());
  CHECK(absorbed_in(graph_json(start + R"(, {"name": "sum", "type": "add", "inputs": ["norm", "norm"]},
    {"name": "act", "type": "relu"})"))
            .empty());
  const FusedGraph fused = fuse(build_model(Config(graph_json(start + R"(, {"name": "act", "type": "relu"},
    {"name": "pool", "type": "global_avg_pool"})",
                                                              R"(["act", "pool"])"))));
  CHECK(fused.fusions.size() == 1);
  CHECK(fused.graph.outputs() == Names{"act", "pool"});
}

TEST_CASE("fuse: a fused graph trains the parameters of its original, to the same bits for every number of threads") {
  const int before = threads();
  std::vector<std::map<std::string, std::string>> results;
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    const Graph graph = trained_model({{"type", "resnet20"}, {"width", 6}, {"input", {16, 16, 3}}});
    results.push_back(step_of(graph, fuse(graph).graph, normal_tensor({5, 16, 16, 3}, 2)));
  }
  set_threads(before);
  CHECK(results[0].at("gradient of layer1.0.bn1.weight") != "none");
  for (const auto& result : results) {
    const bool same = result == results[0];
    CHECK(same);
  }
}
