#include "tests/quant/lowering/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

struct Method {
  std::string name;
  Json rules;
  std::string epilogue = "float";
};

/// `folds`: the network has batch norms to fold.
std::vector<Method> methods(bool folds = true) {
  const Json affine{{"type", "affine"}}, per_channel{{"type", "affine"}, {"per_channel", true}};
  const Json symmetric{{"type", "affine"}, {"symmetric", true}};
  std::vector<Method> list{{"affine, folded", integer_rules(affine, folds), "fixed"},
                           {"affine, batch norm behind", integer_rules(affine, false), "fixed"},
                           {"affine, per channel", integer_rules(per_channel, folds), "fixed"},
                           {"affine, symmetric", integer_rules(symmetric, folds), "fixed"}};
  for (const int bits : {4, 6}) {
    Json rules = integer_rules({{"type", "affine"}, {"bits", bits}}, folds);
    for (Json& rule : rules) rule["act"]["bits"] = bits;
    list.push_back({"affine, few bits", rules, "fixed"});
  }
  for (const int bits : {2, 4, 8})
    list.push_back({"lsq", input_rules({{"type", "lsq"}, {"bits", bits}}, {{"type", "lsq"}, {"bits", bits}})});
  list.push_back({"lsq, per channel, signed", input_rules({{"type", "lsq"}, {"bits", 3}, {"per_channel", true}},
                                                          {{"type", "lsq"}, {"bits", 5}, {"signed", true}})});
  for (const int bits : {1, 2, 4, 8})
    list.push_back({"dorefa", input_rules({{"type", "dorefa"}, {"bits", bits}}, {{"type", "dorefa"}, {"bits", 4}})});
  list.push_back({"pact", input_rules({{"type", "pact"}, {"bits", 4}}, {{"type", "pact"}, {"bits", 4}})});
  list.push_back({"twn", input_rules({{"type", "twn"}}, {{"type", "lsq"}, {"bits", 8}})});
  list.push_back({"bnn", input_rules({{"type", "bnn"}}, {{"type", "bnn"}})});
  return list;
}

/// Few bits: learned levels, and whole ones of which the engine "bits" makes planes.
std::vector<Method> methods_of_bits() {
  std::vector<Method> list;
  for (const auto& [w, a] : {std::pair{1, 2}, std::pair{2, 2}, std::pair{3, 3}, std::pair{4, 4}, std::pair{2, 1}})
    list.push_back({"lq", input_rules({{"type", "lq"}, {"bits", w}}, {{"type", "lq"}, {"bits", a}})});
  for (const int bits : {2, 3})
    list.push_back({"lsq", input_rules({{"type", "lsq"}, {"bits", bits + 1}}, {{"type", "lsq"}, {"bits", bits}})});
  list.push_back({"lq by lsq", input_rules({{"type", "lq"}, {"bits", 2}}, {{"type", "lsq"}, {"bits", 4}})});
  list.push_back({"lsq by lq", input_rules({{"type", "lsq"}, {"bits", 2}}, {{"type", "lq"}, {"bits", 2}})});
  list.push_back({"bnn", input_rules({{"type", "bnn"}}, {{"type", "bnn"}})});
  list.push_back({"xnor", input_rules({{"type", "xnor"}, {"role", "weight"}}, {{"type", "xnor"}, {"role", "act"}})});
  list.push_back({"bwn by sign", input_rules({{"type", "bwn"}}, {{"type", "bnn"}})});
  list.push_back({"dorefa", input_rules({{"type", "dorefa"}, {"bits", 1}}, {{"type", "dorefa"}, {"bits", 2}})});
  list.push_back({"pact", input_rules({{"type", "pact"}, {"bits", 2}}, {{"type", "pact"}, {"bits", 2}})});
  list.push_back({"hwgq", input_rules({{"type", "hwgq"}, {"role", "weight"}}, {{"type", "hwgq"}, {"bits", 2}})});
  list.push_back({"twn", input_rules({{"type", "twn"}}, {{"type", "lsq"}, {"bits", 2}})});
  list.push_back({"ttq", input_rules({{"type", "ttq"}}, {{"type", "lq"}, {"bits", 2}})});
  list.push_back({"elq", input_rules({{"type", "elq"}, {"bounds", {0.0}}}, {{"type", "lsq"}, {"bits", 2}})});
  list.push_back(
      {"abc", input_rules({{"type", "abc"}, {"role", "weight"}, {"bits", 3}}, {{"type", "abc"}, {"bits", 3}})});
  return list;
}

void check_network(const Json& model, const Method& method, uint64_t seed) {
  const Graph eval = quantized_network(model, method.rules, seed);
  const Lowered lowered = lower(eval);
  CHECK(lowered.epilogue == method.epilogue);
  CHECK(count_of(lowered.graph, "int8_conv") >= 2);
  CHECK(broken_edges(eval, lowered, images(eval, 5, seed + 1)) == "");
}

}  // namespace

TEST_CASE("lower: every edge of residual networks keeps its codes, in all orders and with both shortcuts") {
  for (const Method& method : methods())
    for (const std::string order : {"post", "pre", "lq"})
      for (const std::string shortcut : {"A", "B"}) {
        CAPTURE(method.name);
        CAPTURE(method.rules.dump());
        CAPTURE(order);
        CAPTURE(shortcut);
        check_network(resnet_json(order, shortcut), method, 11);
      }
}

TEST_CASE("lower: networks of few bits become bitwise modules that keep their codes, whatever their levels are") {
  const Json vgg{{"type", "vgg_small"}, {"width", 4}, {"input", {17, 19, 3}}, {"classes", 5}};
  for (const Method& method : methods_of_bits())
    for (const Json& model : {resnet_json("post", "A"), resnet_json("lq", "B"), vgg}) {
      CAPTURE(method.name);
      CAPTURE(method.rules.dump());
      CAPTURE(model.dump());
      const Graph eval = quantized_network(model, method.rules, 31);
      const Lowered lowered = lower(eval, {.engine = "bits"});
      CHECK(lowered.epilogue == "float");
      CHECK(count_of(lowered.graph, "bit_conv") >= 4);
      CHECK(broken_edges(eval, lowered, images(eval, 5, 32)) == "");
    }
}

TEST_CASE("lower: affine networks compute on integers from the image to the logits") {
  for (const std::string order : {"post", "pre", "lq"})
    for (const Json& model : {resnet_json(order, "A"), resnet_json(order, "A", "average"), resnet_json(order, "B")})
      for (const bool fold : {true, false}) {
        CAPTURE(model.dump());
        CAPTURE(fold);
        const Graph eval = quantized_network(model, integer_rules({{"type", "affine"}}, fold));
        const Lowered lowered = lower(eval);
        CHECK(float_nodes(lowered) == "");
        CHECK(count_of(lowered.graph, "encode") == 1);  // the image
        CHECK(count_of(lowered.graph, "decode") == 1);  // the logits
        CHECK(lowered.graph.outputs()[0] == eval.outputs()[0] + ".decode");
      }
}

TEST_CASE("lower: VGG, depthwise convolutions, joined branches, pooling and odd sizes") {
  const Json vgg{{"type", "vgg_small"}, {"width", 4}, {"input", {17, 19, 3}}, {"classes", 5}};
  const Json mobile = parse_config(R"({
    "type": "graph", "input": [13, 11, 3],
    "nodes": [
      {"name": "conv1", "type": "conv2d", "in": 3, "out": 6, "kernel": 3, "stride": 2, "pad": "same", "bias": false},
      {"name": "bn1", "type": "batch_norm", "channels": 6}, {"name": "act1", "type": "relu6"},
      {"name": "dw2", "type": "conv2d", "in": 6, "out": 6, "kernel": 3, "pad": 1, "groups": 6, "bias": false},
      {"name": "bn2", "type": "batch_norm", "channels": 6}, {"name": "act2", "type": "relu6"},
      {"name": "pw3", "type": "conv2d", "in": 6, "out": 9, "kernel": 1, "bias": false},
      {"name": "bn3", "type": "batch_norm", "channels": 9}, {"name": "act3", "type": "relu6"},
      {"name": "dw4", "type": "conv2d", "in": 9, "out": 9, "kernel": [3, 5], "stride": [2, 1], "pad": [0, 1, 2, 2],
       "dilation": [2, 1], "groups": 9, "bias": false},
      {"name": "bn4", "type": "batch_norm", "channels": 9}, {"name": "act4", "type": "relu6"},
      {"name": "pw5", "type": "conv2d", "in": 9, "out": 12, "kernel": 1, "groups": 3},
      {"name": "pool", "type": "global_avg_pool"}, {"name": "drop", "type": "dropout", "p": 0.1},
      {"name": "fc", "type": "linear", "in": 12, "out": 4}
    ]})",
                                   "mobile.json")
                          .json;
  const Json inception = parse_config(R"({
    "type": "graph", "input": [9, 9, 3],
    "nodes": [
      {"name": "conv1", "type": "conv2d", "in": 3, "out": 8, "kernel": 3, "pad": 1}, {"name": "r1", "type": "relu"},
      {"name": "a", "type": "conv2d", "in": 8, "out": 3, "kernel": 1, "inputs": "r1"}, {"name": "ra", "type": "relu"},
      {"name": "b", "type": "conv2d", "in": 8, "out": 5, "kernel": 3, "pad": 1, "inputs": "r1"},
      {"name": "rb", "type": "relu"},
      {"name": "m", "type": "max_pool", "kernel": 3, "stride": 1, "pad": 1, "inputs": "r1"},
      {"name": "v", "type": "avg_pool", "kernel": 3, "stride": 1, "pad": 1, "inputs": "r1"},
      {"name": "p", "type": "conv2d", "in": 8, "out": 2, "kernel": 1, "inputs": "v"}, {"name": "rp", "type": "relu"},
      {"name": "cat", "type": "concat", "inputs": ["ra", "rb", "m", "rp"]},
      {"name": "down", "type": "max_pool", "kernel": 2, "ceil_mode": true},
      {"name": "c", "type": "conv2d", "in": 18, "out": 6, "kernel": 3}, {"name": "rc", "type": "relu"},
      {"name": "flat", "type": "flatten"}, {"name": "fc", "type": "linear", "in": 54, "out": 4}
    ]})",
                                      "inception.json")
                             .json;
  for (const Json& model : {vgg, mobile, inception})
    for (const Method& method : methods(model == mobile)) {
      CAPTURE(method.name);
      CAPTURE(method.rules.dump());
      CAPTURE(model.dump());
      check_network(model, method, 23);
    }
  for (const Json& model : {vgg, mobile, inception}) {
    CAPTURE(model.dump());
    const Lowered lowered = lower(quantized_network(model, integer_rules({{"type", "affine"}}, false)));
    CHECK(float_nodes(lowered) == "");
  }
}

TEST_CASE("lower: ResNet-18 with both stems, ResNet-56 and MobileNet-v1 become integers wholly") {
  std::vector<Json> models;
  for (const std::string stem : {"7x7", "3x3"})
    for (const std::string order : {"post", "pre", "lq"})
      models.push_back({{"type", "resnet18"},
                        {"width", 3},
                        {"stem", stem},
                        {"order", order},
                        {"classes", 7},
                        {"input", {21, 18, 3}}});
  models.push_back({{"type", "resnet34"}, {"width", 2}, {"shortcut", "A"}, {"classes", 7}, {"input", {33, 33, 3}}});
  for (const std::string order : {"post", "pre"})
    for (const std::string shortcut : {"A", "B"})
      models.push_back(
          {{"type", "resnet56"}, {"width", 3}, {"order", order}, {"shortcut", shortcut}, {"input", {9, 9, 3}}});
  for (const double multiplier : {0.25, 0.5, 1.0})
    models.push_back({{"type", "mobilenet_v1"},
                      {"multiplier", multiplier},
                      {"classes", 7},
                      {"input", {19, 22, 3}},
                      {"activation", multiplier == 0.5 ? "relu" : "relu6"},
                      {"bn_momentum", 0.5}});
  const Json affine{{"type", "affine"}, {"bits", 8}}, lsq{{"type", "lsq"}, {"bits", 4}};
  for (const Json& model : models) {
    CAPTURE(model.dump());
    const Graph whole = quantized_network(model, integer_rules(affine, true));
    const Lowered lowered = lower(whole);
    CHECK(lowered.epilogue == "fixed");
    CHECK(float_nodes(lowered) == "");
    CHECK(count_of(lowered.graph, "encode") == 1);
    CHECK(count_of(lowered.graph, "decode") == 1);
    CHECK(broken_edges(whole, lowered, images(whole, 3, 5)) == "");
    if (model.value("multiplier", 0.0) == 1.0) continue;  // four million weights; the thinner ones have the same nodes
    const Graph inner = quantized_network(model, input_rules(lsq, lsq));
    CHECK(broken_edges(inner, lower(inner), images(inner, 3, 6)) == "");
  }
}

TEST_CASE("lower: a lowered network gives the same bits for any number of threads and any cutting of the batch") {
  for (const Method& method : methods()) {
    CAPTURE(method.rules.dump());
    const Graph eval = quantized_network(resnet_json("post", "B"), method.rules);
    const Graph lowered = lower(eval).graph;
    const Tensor x = images(eval, 6, 3);
    const int before = threads();
    set_threads(1);
    const Tensor y = lowered.forward(x, {});
    set_threads(2);
    CHECK(values_of(lowered.forward(x, {})) == values_of(y));
    set_threads(before);
    const std::vector<float> all = values_of(y);
    const int64_t size = x.numel() / 6;
    for (int64_t i = 0; i < 6; ++i) {
      Tensor one = Tensor::empty({1, 9, 9, 3});
      std::ranges::copy(x.data<float>().subspan(static_cast<size_t>(i * size), static_cast<size_t>(size)),
                        one.mutable_data<float>().begin());
      const std::vector<float> alone = values_of(lowered.forward(one, {}));
      CHECK(std::equal(alone.begin(), alone.end(), all.begin() + i * 7));
    }
  }
}
