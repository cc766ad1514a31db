#include <cmath>

#include "core/ops.h"
#include "layers/weight_slot.h"
#include "quant/policy.h"
#include "quant/xnor_scale.h"
#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// A convolution, its batch norm, and a linear layer.
Graph network(bool bias = false) {
  Graph graph(Shape{6, 6, 3});
  graph.add("conv", {{"type", "conv2d"}, {"in", 3}, {"out", 4}, {"kernel", 3}, {"pad", 1}, {"bias", bias}}, {"input"});
  graph.add("bn", {{"type", "batch_norm"}, {"channels", 4}}, {"conv"});
  graph.add("flat", {{"type", "flatten"}}, {"bn"});
  graph.add("fc", {{"type", "linear"}, {"in", 144}, {"out", 2}, {"bias", bias}}, {"flat"});
  graph.initialize(1);
  return graph;
}

Graph with_rules(const Json& rules, const Graph& real = network()) {
  return quantize(real, Config(rules, "run.json", "/quant"));
}
Graph with_rule(const Json& rule, const Graph& real = network()) { return with_rules(Json::array({rule}), real); }

std::string refusal(const Json& rule, const Graph& real = network()) {
  return message_of([&] { with_rule(rule, real); });
}

}  // namespace

TEST_CASE("policy: a method where it cannot sit is refused with rule, node, method and the methods that can") {
  for (const char* method : {"twn", "ttq", "bwn", "binaryconnect", "elq", "inq"}) {
    const std::string message = refusal({{"match", "fc"}, {"act", {{"type", method}}}});
    CHECK(mentions(message, {"run.json", "/quant/0/act", method, "activations of 'fc'", "lsq", "pact", "affine"}));
    CHECK(message.find("twn, ") == std::string::npos);
    CHECK(refusal({{"match", "fc"}, {"weight", {{"type", method}}}}).empty());
  }
  const std::string second = message_of([] {
    with_rules({{{"match", "conv"}}, {{"match", "*"}, {"act", {{"type", "twn"}}}}});
  });
  CHECK(mentions(second, {"/quant/1/act", "'twn'", "'fc'"}));
  CHECK(mentions(refusal({{"match", "*"}, {"weight", {{"type", "lsq"}, {"role", "act"}}}}),
                 {"/quant/0/weight/role", "'conv'", "\"weight\""}));
  CHECK(mentions(refusal({{"match", "*"}, {"weight", {{"type", "dorefa_gradient"}}}}), {"/weight", "no quantizer"}));
}

TEST_CASE("policy: bits and granularity that a method does not have are refused") {
  CHECK(mentions(refusal({{"match", "*"}, {"weight", {{"type", "twn"}, {"bits", 2}}}}), {"/quant/0/weight", "bits"}));
  CHECK(mentions(refusal({{"match", "*"}, {"weight", {{"type", "lsq"}, {"bits", 9}}}}), {"/quant/0/weight/bits", "9"}));
  CHECK(mentions(refusal({{"match", "*"}, {"weight", {{"type", "dorefa"}, {"per_channel", true}}}}),
                 {"/quant/0/weight", "per_channel"}));
  for (const char* method : {"lsq", "lq", "affine", "xnor"})
    CHECK(mentions(refusal({{"match", "*"}, {"act", {{"type", method}, {"per_channel", true}}}}),
                   {"/quant/0/act/per_channel", "'conv'", "one grid"}));
}

TEST_CASE("policy: every property of a rule reaches its quantizer") {
  const Graph graph = with_rule(
      {{"match", "conv"},
       {"weight", {{"type", "lsq"}, {"bits", 3}, {"per_channel", true}, {"backward", "identity"}, {"init", "mse"}}},
       {"act", {{"type", "affine"}, {"bits", 7}, {"delay", 100}}}});
  const Json weight = graph.node("conv").layer->config()["weight_quant"];
  CHECK(weight["bits"] == 3);
  CHECK(weight["per_channel"] == true);
  CHECK(weight["backward"] == "identity");
  CHECK(weight["init"] == "mse");
  CHECK(graph.node("conv.act").layer->config()["bits"] == 7);
  CHECK(graph.node("conv.act").layer->config()["delay"] == 100);
}

TEST_CASE("policy: activations have signs unless the graph shows that they are not negative, or the rule says") {
  Graph real(Shape{6, 6, 2});
  real.add("a", {{"type", "conv2d"}, {"in", 2}, {"out", 2}, {"pad", 1}}, {"input"});
  real.add("relu", {{"type", "relu6"}}, {"a"});
  real.add("pool", {{"type", "avg_pool"}, {"kernel", 2}}, {"relu"});
  real.add("b", {{"type", "conv2d"}, {"in", 2}, {"out", 2}, {"pad", 1}}, {"pool"});
  real.add("sum", {{"type", "add"}}, {"pool", "b"});
  real.add("twice", {{"type", "add"}}, {"pool", "pool"});
  real.add("both", {{"type", "concat"}}, {"sum", "twice"});
  real.add("c", {{"type", "conv2d"}, {"in", 4}, {"out", 2}, {"pad", 1}}, {"both"});
  real.add("d", {{"type", "conv2d"}, {"in", 2}, {"out", 2}, {"pad", 1}}, {"twice"});
  real.initialize(1);
  const auto is_signed = [&](const Graph& graph, const char* node) {
    return graph.node(node).layer->config()["signed"] == true;
  };
  const Graph graph = with_rule({{"match", "*"}, {"act", {{"type", "lsq"}}}}, real);
  CHECK(is_signed(graph, "a.act"));
  CHECK_FALSE(is_signed(graph, "b.act"));
  CHECK(is_signed(graph, "c.act"));
  CHECK_FALSE(is_signed(graph, "d.act"));
  CHECK_FALSE(is_signed(with_rule({{"match", "c"}, {"act", {{"type", "lsq"}, {"signed", false}}}}, real), "c.act"));
  const Graph behind = with_rule({{"match", "*"}, {"place", "outputs"}, {"act", {{"type", "lsq"}}}}, real);
  CHECK(is_signed(behind, "input.out"));
  CHECK_FALSE(is_signed(behind, "relu.out"));
  CHECK_FALSE(is_signed(behind, "pool.out"));
  CHECK(is_signed(behind, "both.out"));
}

TEST_CASE("policy: what is already quantized, or has no place for what a rule says, is refused") {
  const Json rule{{"match", "conv"}, {"weight", {{"type", "twn"}}}, {"act", {{"type", "lsq"}}}};
  const Graph once = with_rule(rule);
  CHECK(mentions(refusal({{"match", "conv"}, {"weight", {{"type", "bwn"}}}}, once),
                 {"/quant/0/weight", "'conv'", "already", "twn"}));
  CHECK(mentions(refusal({{"match", "conv"}, {"act", {{"type", "lsq"}}}}, once),
                 {"/quant/0/act", "'conv'", "already", "conv.act"}));
  Graph sum = network();
  sum.add("sum", {{"type", "add"}}, {"fc", "fc"});
  CHECK(mentions(refusal({{"match", "sum"}, {"place", "outputs"}, {"weight", {{"type", "twn"}}}}, sum),
                 {"/quant/0/weight", "'sum'", "no layer"}));
  CHECK(mentions(refusal({{"match", "bn"}, {"place", "outputs"}, {"act", {{"type", "affine"}}}}),
                 {"/quant/0/match", "'bn'", "no place"}));
}

TEST_CASE("policy: a gradient quantizer goes behind the layer and quantizes what comes back") {
  const Json rule{{"match", "conv|fc"}, {"grad", {{"type", "dorefa_gradient"}, {"bits", 2}}}};
  const Graph graph = with_rule(rule), real = network();
  CHECK(graph.node("conv.grad").inputs == std::vector<std::string>{"conv"});
  CHECK(graph.node("bn").inputs == std::vector<std::string>{"conv.grad"});
  CHECK(graph.outputs() == std::vector<std::string>{"fc.grad"});
  const Tensor x = random_tensor({5, 6, 6, 3}, 4), dy = random_tensor({5, 2}, 9);
  CHECK(same_bits(graph.forward(x, {}), real.forward(x, {})));
  Rng rng(3);
  std::map<std::string, Tensor> arrived;
  backward(weighted_sum(graph.forward(x, {Mode::train, &rng}), dy), [&](std::string_view op, const Tensor& d) {
    if (op == "linear") arrived["fc"] = d.clone();
  });
  // Two bits: the largest of each sample times -1, -1/3, 1/3 or 1.
  for (size_t n = 0; n < 5; ++n) {
    const double m = std::max(std::abs(double{dy.data<float>()[2 * n]}), std::abs(double{dy.data<float>()[2 * n + 1]}));
    for (size_t k = 0; k < 2; ++k) {
      const double thirds = 3 * double{arrived.at("fc").data<float>()[2 * n + k]} / m;
      CHECK(std::abs(thirds) == doctest::Approx(std::abs(thirds) > 2 ? 3 : 1).epsilon(1e-5));
    }
  }
  CHECK(Graph::from_json(Config(graph.to_json())).to_json() == graph.to_json());
  CHECK(mentions(refusal({{"match", "*"}, {"grad", {{"type", "lsq"}}}}), {"/quant/0/grad", "'lsq'", "gradients"}));
  CHECK(mentions(refusal({{"match", "*"}, {"grad", {{"type", "dorefa_gradient"}, {"bits", 0}}}}),
                 {"/quant/0/grad/bits"}));
}

TEST_CASE("policy: a gradient quantizer between a convolution and its batch norm leaves its output's place alone") {
  const Graph graph = with_rule(
      {{"match", "*"}, {"place", "outputs"}, {"act", {{"type", "affine"}}}, {"grad", {{"type", "dorefa_gradient"}}}});
  CHECK(graph.node("bn.out").inputs == std::vector<std::string>{"bn"});
  CHECK_FALSE(graph.contains("conv.out"));
  CHECK_FALSE(graph.contains("conv.grad.out"));
}

TEST_CASE("policy: xnor's K scales the convolution's output by the local magnitude of its real input") {
  const Json act{{"type", "xnor"}, {"use_k", true}};
  const Graph graph = with_rule({{"match", "*"}, {"weight", {{"type", "xnor"}}}, {"act", act}});
  CHECK(graph.node("conv.scale").inputs == std::vector<std::string>{"conv", "input"});
  CHECK(graph.node("bn").inputs == std::vector<std::string>{"conv.scale"});
  CHECK(graph.node("fc.scale").inputs == std::vector<std::string>{"fc", "flat"});
  const Tensor x = random_tensor({2, 6, 6, 3}, 4);
  std::map<std::string, Tensor> edge{{"input", x}};
  graph.forward(x, {}, [&](const Node& node, const Tensor& y) { edge[node.name] = y.clone(); });
  const auto at = [&](const char* name, size_t i) { return double{edge.at(name).data<float>()[i]}; };
  double worst = 0;
  for (int64_t n = 0; n < 2; ++n)
    for (int64_t h = 0; h < 6; ++h)
      for (int64_t w = 0; w < 6; ++w) {
        double k = 0;
        for (int64_t i = std::max<int64_t>(0, h - 1); i < std::min<int64_t>(6, h + 2); ++i)
          for (int64_t j = std::max<int64_t>(0, w - 1); j < std::min<int64_t>(6, w + 2); ++j)
            for (int64_t c = 0; c < 3; ++c)
              k += std::abs(at("input", static_cast<size_t>(((n * 6 + i) * 6 + j) * 3 + c))) / 3 / 9;
        for (int64_t o = 0; o < 4; ++o) {
          const auto i = static_cast<size_t>(((n * 6 + h) * 6 + w) * 4 + o);
          worst = std::max(worst, std::abs(at("conv.scale", i) - k * at("conv", i)));
        }
      }
  CHECK(worst < 1e-5);
  for (size_t n = 0; n < 2; ++n) {
    double k = 0;
    for (size_t i = 0; i < 144; ++i) k += std::abs(at("flat", n * 144 + i)) / 144;
    for (size_t o = 0; o < 2; ++o)
      CHECK(at("fc.scale", n * 2 + o) == doctest::Approx(k * at("fc", n * 2 + o)).epsilon(1e-5));
  }
}

TEST_CASE("policy: xnor's K is off by default, and refused where it would scale more than the convolution") {
  CHECK_FALSE(with_rule({{"match", "*"}, {"act", {{"type", "xnor"}}}}).contains("conv.scale"));
  const Json act{{"type", "xnor"}, {"use_k", true}};
  CHECK(mentions(refusal({{"match", "*"}, {"act", act}}, network(true)), {"/quant/0/act", "use_k", "bias"}));
  CHECK(mentions(refusal({{"match", "*"}, {"place", "outputs"}, {"act", act}}), {"/quant/0/act", "use_k"}));
  CHECK(mentions(refusal({{"match", "*"}, {"weight", {{"type", "xnor"}, {"use_k", true}}}}), {"use_k", "activations"}));
  Graph grouped(Shape{6, 6, 2});
  grouped.add("conv", {{"type", "conv2d"}, {"in", 2}, {"out", 4}, {"groups", 2}, {"bias", false}}, {"input"});
  CHECK(mentions(refusal({{"match", "*"}, {"act", act}}, grouped), {"/quant/0/act", "use_k", "group"}));
}

TEST_CASE("xnor_scale: K follows stride, dilation and padding, is a constant backwards, and must fit") {
  const auto layer = make_layer(
      {{"type", "xnor_scale"}, {"kernel", {3, 2}}, {"stride", {2, 1}}, {"pad", {1, 0, 0, 1}}, {"dilation", {1, 2}}});
  const Tensor x = random_tensor({2, 5, 6, 3}, 1), y = random_tensor({2, 2, 5, 2}, 2).set_requires_grad();
  const Tensor in[] = {y, x};
  const Tensor scaled = layer->forward(in, {Mode::train});
  const Tensor dy = random_tensor(y.shape(), 3);
  backward(weighted_sum(scaled, dy));
  for (int64_t n = 0; n < 2; ++n)
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t w = 0; w < 5; ++w) {
        double k = 0;
        for (int64_t a = 0; a < 3; ++a)
          for (int64_t b = 0; b < 2; ++b) {
            const int64_t i = 2 * h - 1 + a, j = w + 2 * b;
            if (i < 0 || i >= 5 || j >= 6) continue;
            for (int64_t c = 0; c < 3; ++c)
              k += std::abs(double{x.data<float>()[static_cast<size_t>(((n * 5 + i) * 6 + j) * 3 + c)]}) / 18;
          }
        for (int64_t o = 0; o < 2; ++o) {
          const auto i = static_cast<size_t>(((n * 2 + h) * 5 + w) * 2 + o);
          CHECK(scaled.data<float>()[i] == doctest::Approx(k * double{y.data<float>()[i]}).epsilon(1e-5));
          CHECK(y.grad().data<float>()[i] == doctest::Approx(k * double{dy.data<float>()[i]}).epsilon(1e-5));
        }
      }
  const Tensor wrong[] = {random_tensor({2, 3, 5, 2}, 2), x};
  CHECK(mentions(message_of([&] { layer->forward(wrong, {}); }), {"xnor_scale", "does not fit"}));
}

TEST_CASE("policy: binary weights pass their factor of the learning rate on to the optimizer") {
  const auto factor = [](const Json& weight, const char* name) {
    for (const NamedTensor& p : parameters_of(with_rule({{"match", "*"}, {"weight", weight}})))
      if (p.name == name) return double{p.traits.lr_factor};
    return 0.0;
  };
  const double conv = (27 + 36) / 1.5, fc = (144 + 2) / 1.5;
  for (const char* method : {"binaryconnect", "bnn"}) {
    CHECK(factor({{"type", method}}, "conv.weight") == doctest::Approx(std::sqrt(conv)));
    CHECK(factor({{"type", method}}, "fc.weight") == doctest::Approx(std::sqrt(fc)));
    CHECK(factor({{"type", method}, {"lr_scale", "glorot_squared"}}, "conv.weight") == doctest::Approx(conv));
    CHECK(factor({{"type", method}, {"lr_scale", "none"}}, "conv.weight") == 1);
    CHECK(factor({{"type", method}}, "bn.weight") == 1);
  }
  CHECK(factor({{"type", "bwn"}}, "conv.weight") == 1);
}
