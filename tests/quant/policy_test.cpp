#include "quant/policy.h"

#include <set>

#include "layers/describe.h"
#include "layers/weight_slot.h"
#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// Two convolutions that read one tensor, their sum, and a linear layer.
Graph forked() {
  Graph graph(Shape{6, 6, 2});
  graph.add("relu", {{"type", "relu"}}, {"input"});
  graph.add("left", {{"type", "conv2d"}, {"in", 2}, {"out", 4}, {"kernel", 3}, {"pad", 1}}, {"relu"});
  graph.add("right", {{"type", "conv2d"}, {"in", 2}, {"out", 4}, {"kernel", 1}, {"bias", false}}, {"relu"});
  graph.add("sum", {{"type", "add"}}, {"left", "right"});
  graph.add("flat", {{"type", "flatten"}}, {"sum"});
  graph.add("fc", {{"type", "linear"}, {"in", 144}, {"out", 3}}, {"flat"});
  graph.initialize(1);
  return graph;
}

Config rules(const Json& json) { return Config(json, "run.json", "/quant"); }

const Json kWeight{{"type", "lsq"}, {"bits", 3}}, kAct{{"type", "lsq"}, {"bits", 4}};

std::vector<std::string> names_of(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes()) names.push_back(node.name);
  return names;
}

Quantizer* weight_quantizer(const Graph& graph, const std::string& name) {
  return graph.node(name).layer->weight_slot()->get();
}

std::string refusal(const Json& json) {
  return message_of([&] { quantize(forked(), rules(json)); });
}

}  // namespace

TEST_CASE("policy: weights get their slot, activations a node in front of the layer") {
  const Graph graph = quantize(forked(), rules(Json::array({{{"match", "*"}, {"weight", kWeight}, {"act", kAct}}})));
  CHECK(names_of(graph) ==
        std::vector<std::string>{"relu", "left.act", "left", "right.act", "right", "sum", "flat", "fc.act", "fc"});
  CHECK(graph.node("left").inputs == std::vector<std::string>{"left.act"});
  CHECK(graph.node("left.act").inputs == std::vector<std::string>{"relu"});
  CHECK(graph.node("sum").inputs == std::vector<std::string>{"left", "right"});
  for (const char* name : {"left", "right", "fc"}) {
    REQUIRE(weight_quantizer(graph, name) != nullptr);
    CHECK(weight_quantizer(graph, name)->config()["signed"] == true);
    CHECK(weight_quantizer(graph, name)->config()["role"] == "weight");
  }
  CHECK(graph.node("left.act").layer->config()["signed"] == false);  // behind a ReLU
  CHECK(graph.node("fc.act").layer->config()["signed"] == true);
  CHECK(graph.outputs() == std::vector<std::string>{"fc"});
  for (const NodeInfo& info : describe(graph)) {
    if (info.weight_bits != 0) CHECK(info.weight_bits == 3);
    if (info.type == "lsq") CHECK(info.activation_bits == 4);
  }
}

TEST_CASE("policy: the first rule that matches decides, even if it says nothing") {
  const Json eight{{"type", "lsq"}, {"bits", 8}};
  const Graph graph = quantize(forked(), rules(Json::array({{{"match", "r?ght"}, {"weight", nullptr}},
                                                            {{"match", "fc|left"}, {"weight", eight}},
                                                            {{"match", "*"}, {"weight", kWeight}, {"act", kAct}}})));
  CHECK(weight_quantizer(graph, "right") == nullptr);
  CHECK(weight_quantizer(graph, "left")->config()["bits"] == 8);
  CHECK(weight_quantizer(graph, "fc")->config()["bits"] == 8);
  CHECK(names_of(graph) == names_of(forked()));
}

TEST_CASE("policy: a layer that no rule matches stays real, and so does a net without rules") {
  const Graph one = quantize(forked(), rules(Json::array({{{"match", "left"}, {"weight", kWeight}}})));
  CHECK(weight_quantizer(one, "left") != nullptr);
  CHECK(weight_quantizer(one, "right") == nullptr);
  CHECK(quantize(forked(), rules(Json::array())).to_json() == forked().to_json());
}

TEST_CASE("policy: options that depend on the place are filled in, unless the config sets them") {
  const Json per_channel{{"type", "lsq"}, {"per_channel", true}};
  Json own = per_channel;
  own["signed"] = false;
  const Graph graph = quantize(forked(), rules(Json::array({{{"match", "left"}, {"weight", {{"type", "lq"}}}},
                                                            {{"match", "fc"}, {"weight", per_channel}},
                                                            {{"match", "*"}, {"weight", own}}})));
  const Json left = weight_quantizer(graph, "left")->config();
  CHECK(left["role"] == "weight");
  CHECK(left["channels"] == 4);
  CHECK(left["fan_out"] == 36);
  CHECK(weight_quantizer(graph, "fc")->config()["channels"] == 3);
  CHECK(States(*weight_quantizer(graph, "fc")).all.at("step").shape() == Shape{3});
  CHECK(weight_quantizer(graph, "right")->config()["signed"] == false);
}

TEST_CASE("policy: with share_act layers that read one tensor share its quantizer") {
  const Json shared{{"match", "*"}, {"act", kAct}, {"share_act", true}};
  const Graph graph = quantize(forked(), rules(Json::array({shared})));
  CHECK(names_of(graph) ==
        std::vector<std::string>{"relu", "left.act", "left", "right", "sum", "flat", "fc.act", "fc"});
  CHECK(graph.node("right").inputs == std::vector<std::string>{"left.act"});
  // Not if they want different ones.
  Json other = shared;
  other["match"] = "right";
  other["act"] = {{"type", "lsq"}, {"bits", 8}};
  CHECK(quantize(forked(), rules(Json::array({other, shared}))).contains("right.act"));
}

TEST_CASE("policy: the quantized graph has its own parameters, equal to the original's") {
  const Graph real = forked();
  const Json before = real.to_json();
  const Graph graph = quantize(real, rules(Json::array({{{"match", "*"}, {"weight", kWeight}, {"act", kAct}}})));
  CHECK(real.to_json() == before);
  std::map<std::string, Tensor> copied;
  for (const NamedTensor& entry : state_of(graph)) copied[entry.name] = entry.tensor;
  for (const NamedTensor& entry : state_of(real)) {
    CHECK(same_bits(copied.at(entry.name), entry.tensor));
    CHECK(copied.at(entry.name).raw() != entry.tensor.raw());
    CHECK(copied.at(entry.name).requires_grad() == entry.tensor.requires_grad());
  }
}

TEST_CASE("policy: a quantized graph comes back from its JSON and state, and trains on") {
  const Graph graph = quantize(
      forked(), rules(Json::array({{{"match", "left"}, {"weight", {{"type", "lq"}}}, {"act", {{"type", "lq"}}}},
                                   {{"match", "*"}, {"weight", kWeight}, {"act", kAct}}})));
  const Tensor x = random_tensor({2, 6, 6, 2}, 4);
  graph.forward(x, {.mode = Mode::train});
  const Graph copy = Graph::from_json(Config(graph.to_json()));
  CHECK(copy.to_json() == graph.to_json());
  const auto from = state_of(graph), to = state_of(copy);
  REQUIRE(from.size() == to.size());
  for (size_t i = 0; i < from.size(); ++i) {
    CHECK(from[i].name == to[i].name);
    to[i].tensor.copy_from(from[i].tensor);
  }
  CHECK(same_bits(graph.forward(x, {}), copy.forward(x, {})));
  CHECK(same_bits(graph.forward(x, {.mode = Mode::train}), copy.forward(x, {.mode = Mode::train})));
  const std::vector<float> values = values_of(graph.node("left").layer->facts().gemm->weight);
  CHECK(std::set<float>(values.begin(), values.end()).size() <= 4 * 4);
}

TEST_CASE("policy: what cannot be is refused with its place in the config") {
  CHECK(mentions(refusal({{{"match", "*"}, {"weight", kWeight}}, {{"match", "conv*"}, {"weight", kWeight}}}),
                 {"run.json", "/quant/1/match", "conv*", "matches no layer"}));
  CHECK(mentions(refusal({{{"match", "relu"}, {"act", kAct}}}), {"/quant/0/match", "relu"}));
  CHECK(
      mentions(refusal({{{"match", "*"}, {"weight", {{"type", "relu"}}}}}), {"/quant/0/weight", "relu", "quantizer"}));
  CHECK(mentions(refusal({{{"match", "*"}, {"act", {{"type", "lsqq"}}}}}), {"/quant/0/act", "lsqq", "did you mean"}));
  CHECK(mentions(refusal({{{"match", "*"}, {"act", {{"type", "lsq"}, {"bits", 1}}}}}), {"/quant/0/act/bits"}));
  CHECK(mentions(refusal({{{"match", "*"}, {"weigth", kWeight}}}), {"/quant/0", "weigth", "weight"}));
  CHECK(mentions(refusal({{{"weight", kWeight}}}), {"/quant/0", "match"}));
  CHECK(mentions(refusal({{"match", "*"}}), {"/quant", "list"}));
}
