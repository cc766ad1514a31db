#include "layers/graph.h"

#include <set>

#include "layers/relu.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Graph branching() {
  Graph graph = build_model(Config(branching_json()));
  graph.initialize(3);
  return graph;
}

std::string read_error(const char* text) {
  return message_of([text] { Graph::from_json(parse_config(text, "net.json")); });
}

}  // namespace

TEST_CASE("graph: a network written out in JSON runs, and a left-out input is the node before") {
  const Graph graph = branching();
  CHECK(graph.node("left").inputs == std::vector<std::string>{"stem"});
  CHECK(graph.node("join").inputs == std::vector<std::string>{"sum", "stem"});
  CHECK(graph.forward(random_tensor({2, 8, 8, 3}, 1), {}).shape() == Shape{2, 5});
}

TEST_CASE("graph: JSON written and read again gives the same network") {
  const Graph graph = branching();
  const Json json = graph.to_json();
  const Graph again = Graph::from_json(Config(json));
  CHECK(again.to_json() == json);
  again.initialize(3);
  const Tensor x = random_tensor({2, 8, 8, 3}, 1);
  CHECK(same_bits(graph.forward(x, {}), again.forward(x, {})));
}

TEST_CASE("graph: a clone shares nothing, a copy shares its layers") {
  const Graph graph = branching();
  const Graph clone = graph.clone(), copy = graph;
  const Tensor x = random_tensor({2, 8, 8, 3}, 1);
  const Tensor before = graph.forward(x, {});
  CHECK(same_bits(clone.forward(x, {}), before));
  for (const NamedTensor& entry : state_of(graph))
    for (float& v : entry.tensor.mutable_data<float>()) v += 1;
  CHECK(same_bits(clone.forward(x, {}), before));
  CHECK_FALSE(same_bits(copy.forward(x, {}), before));
  CHECK(parameters_of(clone)[0].tensor.requires_grad());
}

TEST_CASE("graph: the state is visited under PyTorch's names, in order") {
  std::vector<std::string> names, parameters;
  for (const NamedTensor& entry : state_of(branching())) names.push_back(entry.name);
  for (const NamedTensor& entry : parameters_of(branching())) parameters.push_back(entry.name);
  CHECK(names == std::vector<std::string>{"stem.weight", "stem.bias", "left.weight", "norm.weight", "norm.bias",
                                          "norm.running_mean", "norm.running_var", "head.weight", "head.bias"});
  CHECK(parameters == std::vector<std::string>{"stem.weight", "stem.bias", "left.weight", "norm.weight", "norm.bias",
                                               "head.weight", "head.bias"});
}

TEST_CASE("graph: initial values depend on the seed and the node's name only") {
  const Graph a = branching();
  Json json = branching_json();
  json["nodes"].erase(2);  // the batch norm
  json["nodes"][2]["inputs"] = "left";
  const Graph b = Graph::from_json(Config(json));
  b.initialize(3);
  CHECK(same_bits(parameters_of(a)[5].tensor, parameters_of(b)[3].tensor));
  const Tensor first = parameters_of(a)[0].tensor.clone();
  a.initialize(4);
  CHECK_FALSE(same_bits(parameters_of(a)[0].tensor, first));
}

TEST_CASE("graph: the gradient reaches every parameter, and agrees with a difference of losses") {
  const Graph graph = branching();
  Rng rng(1);
  const Tensor x = random_tensor({4, 8, 8, 3}, 1),
               labels = Tensor::from<int32_t>({4}, std::vector<int32_t>{0, 1, 2, 3});
  const auto loss = [&] {
    rng.set_position(0);
    return softmax_cross_entropy(graph.forward(x, {Mode::train, &rng}), labels, 0.1f);
  };
  backward(loss());
  for (const NamedTensor& entry : parameters_of(graph)) {
    CAPTURE(entry.name);
    REQUIRE(entry.tensor.grad().defined());
    double most = 0;
    for (const float g : entry.tensor.grad().data<float>()) most = std::max(most, std::abs(double{g}));
    CHECK(most > 0);
  }
  // A step against the whole gradient lowers the loss by its squared norm, to first order.
  double norm = 0;
  for (const NamedTensor& entry : parameters_of(graph))
    for (const float g : entry.tensor.grad().data<float>()) norm += double{g} * g;
  const double step = 1e-2 / norm, before = loss().item();
  for (const NamedTensor& entry : parameters_of(graph))
    for (size_t i = 0; i < entry.tensor.data<float>().size(); ++i)
      entry.tensor.mutable_data<float>()[i] -= static_cast<float>(step) * entry.tensor.grad().data<float>()[i];
  CHECK(before - loss().item() == doctest::Approx(1e-2).epsilon(0.15));
}

TEST_CASE("graph: evaluation records nothing and does not depend on a sample's batch mates") {
  const Graph graph = branching();
  const Tensor both = random_tensor({2, 8, 8, 3}, 1);
  const Tensor y = graph.forward(both, {});
  CHECK_FALSE(y.requires_grad());
  CHECK(y.node() == nullptr);
  const Tensor one = Tensor::from({1, 8, 8, 3}, both.data<float>().subspan(0, 192));
  CHECK(compare(graph.forward(one, {}), {y.data<float>().begin(), y.data<float>().begin() + 5}, 1e-6) == "");
}

TEST_CASE("graph: evaluation releases an activation after its last reader") {
  struct Probe final : Layer {
    std::string_view type() const override { return "probe"; }
    Tensor forward(Inputs in, const Pass&) override {
      alone = in[0].unique();
      return in[0].clone();
    }
    bool alone = false;
  };
  Graph graph;
  std::vector<std::shared_ptr<Probe>> probes;
  for (const char* input : {"input", "p0", "p1", "p1"}) {
    probes.push_back(std::make_shared<Probe>());
    graph.add("p" + std::to_string(probes.size() - 1), probes.back(), {input});
  }
  graph.forward(Tensor::zeros({1, 2}), {});
  CHECK(probes[1]->alone);
  CHECK_FALSE(probes[2]->alone);
  CHECK(probes[3]->alone);
}

TEST_CASE("graph: the watch sees every node in order, and outputs can be chosen") {
  Graph graph = branching();
  std::vector<std::string> seen;
  graph.forward(random_tensor({1, 8, 8, 3}, 1), {},
                [&seen](const Node& node, const Tensor& y) { seen.push_back(y.defined() ? node.name : ""); });
  CHECK(seen ==
        std::vector<std::string>{"stem", "left", "norm", "act", "right", "sum", "join", "flat", "drop", "head"});
  CHECK(graph.outputs() == std::vector<std::string>{"head"});
  graph.set_outputs({"sum", "head", "sum"});
  const std::vector<Tensor> results = graph.forward_all(random_tensor({1, 8, 8, 3}, 1), {});
  CHECK(results[0].shape() == Shape{1, 8, 8, 4});
  CHECK(results[1].shape() == Shape{1, 5});
  CHECK(same_bits(results[0], results[2]));
  CHECK(Graph::from_json(Config(graph.to_json())).outputs().size() == 3);
  CHECK(mentions(message_of([&graph] { graph.set_outputs({"hed"}); }), {"hed", "did you mean 'head'"}));
}

TEST_CASE("graph: a layer may read the same tensor twice") {
  Graph graph;
  graph.add("twice", {{"type", "add"}}, {"input", "input"});
  graph.add("again", {{"type", "add"}}, {"twice", "twice"});
  CHECK(graph.forward(Tensor::of({1.5f}), {}).item() == 6.f);
}

TEST_CASE("graph: add refuses taken and reserved names, unknown inputs and missing layers") {
  Graph graph;
  const auto relu = std::make_shared<Relu>();
  CHECK(graph.add("one", relu, {"input"}) == "one");
  const auto refusal = [&](const char* name, std::vector<std::string> inputs) {
    return message_of([&] { graph.add(name, relu, inputs); });
  };
  CHECK(mentions(refusal("one", {"input"}), {"two nodes", "'one'"}));
  CHECK(mentions(refusal("input", {"input"}), {"'input'"}));
  CHECK(mentions(refusal("", {"input"}), {"name"}));
  CHECK(mentions(refusal("train/x", {"input"}), {"'/'"}));
  CHECK(mentions(refusal("two", {"onr"}), {"'two'", "'onr'", "did you mean 'one'"}));
  CHECK(mentions(refusal("two", {"two"}), {"reads itself"}));
  CHECK(mentions(refusal("two", {}), {"no inputs"}));
  CHECK(mentions(message_of([&] { graph.add("two", std::shared_ptr<Layer>(), {"input"}); }), {"no layer"}));
  CHECK(mentions(message_of([&] { graph.add("two", Json{{"type", "rely"}}, {"input"}); }), {"'two'", "relu"}));
  CHECK(graph.nodes().size() == 1);
  CHECK(mentions(message_of([] { Graph().forward(Tensor::of({1.f}), {}); }), {"no nodes"}));
}

TEST_CASE("graph: errors while running begin with the layer's type and the node's name") {
  Graph graph;
  graph.add("layer1.0.conv1", {{"type", "conv2d"}, {"in", 16}, {"out", 4}}, {"input"});
  const std::string wrong = message_of([&] { graph.forward(Tensor::zeros({1, 8, 8, 3}), {}); });
  CHECK(wrong.rfind("conv2d 'layer1.0.conv1': ", 0) == 0);
  CHECK(mentions(wrong, {"16", "[1,8,8,3]"}));
  CHECK(mentions(message_of([&] { graph.forward(Tensor::zeros({8, 8}), {}); }), {"layer1.0.conv1", "[8,8]"}));
}

TEST_CASE("graph JSON: what is wrong is named with its JSON pointer") {
  CHECK(mentions(read_error(R"({"nodes": [{"name": "a", "type": "rellu"}]})"),
                 {"net.json", "/nodes/0/type", "did you mean 'relu'"}));
  CHECK(mentions(read_error(R"({"nodes": [{"name": "a", "type": "relu"}, {"name": "a", "type": "relu"}]})"),
                 {"/nodes/1", "two nodes"}));
  CHECK(mentions(
      read_error(R"({"nodes": [{"name": "a", "type": "relu", "inputs": "b"}, {"name": "b", "type": "relu"}]})"),
      {"/nodes/0", "'b'", "before"}));
  CHECK(mentions(read_error(R"({"nodes": [{"name": "a", "type": "conv2d", "in": 3, "out": 4, "kernl": 3}]})"),
                 {"/nodes/0", "kernl", "did you mean 'kernel'"}));
  CHECK(mentions(read_error(R"({"nodes": [{"type": "relu"}]})"), {"/nodes/0", "name"}));
  CHECK(mentions(read_error(R"({"nodes": [{"name": 3, "type": "relu"}]})"), {"/nodes/0/name"}));
  CHECK(mentions(read_error(R"({"nodes": [{"name": "a", "type": "relu", "inputs": [1]}]})"), {"/nodes/0/inputs/0"}));
  CHECK(mentions(read_error(R"({"nodes": [{"name": "a", "type": "relu", "inputs": []}]})"), {"/nodes/0/inputs"}));
  CHECK(mentions(read_error(R"({"nodes": [7]})"), {"/nodes/0"}));
  CHECK(mentions(read_error(R"({"nodes": []})"), {"/nodes"}));
  CHECK(mentions(read_error(R"({"nodes": {}})"), {"/nodes"}));
  CHECK(mentions(read_error(R"({})"), {"nodes"}));
  CHECK(mentions(read_error(R"({"nods": []})"), {"'nodes' is missing"}));
  CHECK(mentions(read_error(R"({"input": [3, 3], "nodes": [{"name": "a", "type": "relu"}]})"), {"input"}));
  CHECK(mentions(read_error(R"({"input": [-1, 3, 3], "nodes": [{"name": "a", "type": "relu"}]})"), {"/input/0"}));
  CHECK(mentions(read_error(R"({"outputs": ["b"], "nodes": [{"name": "a", "type": "relu"}]})"), {"'b'"}));
}
