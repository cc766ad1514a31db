#include "quant/output_placement.h"

#include "layers/weight_slot.h"
#include "quant/policy.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Json resnet(const char* order) {
  return {{"type", "resnet_cifar"}, {"depth", 8}, {"width", 4}, {"order", order}, {"input", {8, 8, 3}}};
}

std::vector<std::string> places(const Graph& graph) {
  std::vector<std::string> names;
  for (const OutputSite& site : output_sites(graph)) names.push_back(site.after + "<" + site.head);
  return names;
}

Config rules(const Json& json) { return Config(json); }

const Json kAffine{{"type", "affine"}, {"bits", 8}};

}  // namespace

TEST_CASE("output placement: one site per fused operator of a residual network") {
  const std::vector<std::string> expected{"input<input",
                                          "relu1<conv1",
                                          "layer1.0.relu1<layer1.0.conv1",
                                          "layer1.0.bn2<layer1.0.conv2",
                                          "layer1.0.relu2<layer1.0.add",
                                          "layer2.0.relu1<layer2.0.conv1",
                                          "layer2.0.bn2<layer2.0.conv2",
                                          "layer2.0.relu2<layer2.0.add",
                                          "layer3.0.relu1<layer3.0.conv1",
                                          "layer3.0.bn2<layer3.0.conv2",
                                          "layer3.0.relu2<layer3.0.add",
                                          "pool<pool",
                                          "linear<linear"};
  CHECK(places(build_model(Config(resnet("post")))) == expected);
  const std::vector<std::string> pre = places(build_model(Config(resnet("pre"))));
  CHECK(std::ranges::count(pre, "layer2.0.add<layer2.0.add") == 1);  // read by a batch norm and by the next add
  CHECK(std::ranges::count(pre, "layer3.0.relu1<layer3.0.bn1") == 1);
  CHECK(std::ranges::count(pre, "layer3.0.add<layer3.0.add") ==
        1);  // a batch norm follows, for which adds have no room
}

TEST_CASE("output placement: branches of a concat share the quantizer behind it") {
  const Graph graph = build_model(Config(branching_json()));
  CHECK(places(graph) == std::vector<std::string>{"input<input", "stem<stem", "act<left", "join<join", "head<head"});
}

TEST_CASE("output placement: average pooling makes new values and has a place of its own, max-pooling has none") {
  Graph graph(Shape{8, 8, 2});
  graph.add("conv", {{"type", "conv2d"}, {"in", 2}, {"out", 3}, {"pad", 1}}, {"input"});
  graph.add("max", {{"type", "max_pool"}, {"kernel", 2}}, {"conv"});
  graph.add("mean", {{"type", "avg_pool"}, {"kernel", 2}}, {"max"});
  graph.add("relu", {{"type", "relu"}}, {"mean"});
  graph.add("all", {{"type", "global_avg_pool"}}, {"relu"});
  graph.add("bn", {{"type", "batch_norm"}, {"channels", 3}}, {"all"});
  graph.add("fc", {{"type", "linear"}, {"in", 3}, {"out", 2}}, {"bn"});
  graph.initialize(1);
  CHECK(places(graph) ==
        std::vector<std::string>{"input<input", "conv<conv", "relu<mean", "all<all", "bn<bn", "fc<fc"});
  const Graph quantized =
      quantize(graph, rules(Json::array({{{"match", "*"}, {"place", "outputs"}, {"act", kAffine}}})));
  CHECK(quantized.node("bn").inputs == std::vector<std::string>{"all.out"});
}

TEST_CASE("output placement: readers and outputs move behind the new nodes") {
  const Graph real = build_model(Config(branching_json()));
  const Graph graph = quantize_outputs(real, [](const OutputSite& site) -> std::shared_ptr<Layer> {
    return site.head == "left" ? nullptr : make_layer(kAffine);
  });
  CHECK(graph.node("stem").inputs == std::vector<std::string>{"input.out"});
  CHECK(graph.node("left").inputs == std::vector<std::string>{"stem.out"});
  CHECK(graph.node("join.out").inputs == std::vector<std::string>{"join"});
  CHECK(graph.node("flat").inputs == std::vector<std::string>{"join.out"});
  CHECK_FALSE(graph.contains("act.out"));
  CHECK(graph.outputs() == std::vector<std::string>{"head.out"});
}

TEST_CASE("output placement: a rule places, folds and quantizes, and the values lie on their grids") {
  const Graph real = trained_model(resnet("post"));
  const Json section = Json::array({{{"match", "linear"}},
                                    {{"match", "*"},
                                     {"place", "outputs"},
                                     {"fold_batch_norm", {{"freeze", 5}}},
                                     {"weight", {{"type", "affine"}}},
                                     {"act", kAffine}}});
  const Graph graph = quantize(real, rules(section));
  CHECK(graph.node("layer1.0.conv1").layer->type() == "conv2d_bn");
  CHECK(graph.node("layer1.0.conv1").layer->config()["freeze"] == 5);
  CHECK(graph.node("layer1.0.conv1").inputs == std::vector<std::string>{"relu1.out"});
  CHECK(graph.node("layer1.0.conv2").layer->weight_slot()->config().json["role"] == "weight");
  CHECK(graph.node("layer1.0.add").inputs == std::vector<std::string>{"layer1.0.conv2.out", "relu1.out"});
  CHECK_FALSE(graph.contains("linear.out"));
  CHECK(graph.node("linear").layer->weight_slot()->empty());
  const Tensor x = random_tensor({4, 8, 8, 3}, 1);
  graph.forward(x, {Mode::train});
  int quantized = 0;
  graph.forward(x, {}, [&](const Node& node, const Tensor& y) {
    const Facts facts = node.layer->facts();
    if (!facts.snaps_to) return;
    ++quantized;
    CHECK(same_bits(snap(y, *facts.snaps_to), y));
  });
  CHECK(quantized == 12);
  CHECK(quantize(real, rules(section)).clone().to_json() == quantize(real, rules(section)).to_json());
}

TEST_CASE("output placement: rules may name adds and the input; what cannot be done is an error") {
  const Graph real = trained_model(resnet("post"));
  const auto with = [&](const Json& rule) { return quantize(real, rules(Json::array({rule}))); };
  const Graph graph = with({{"match", "input|*.add"}, {"place", "outputs"}, {"act", kAffine}});
  CHECK(graph.contains("input.out"));
  CHECK(graph.contains("layer3.0.relu2.out"));
  CHECK_FALSE(graph.contains("relu1.out"));
  CHECK(with({{"match", "input"}, {"place", "outputs"}, {"act", kAffine}}).nodes().size() == real.nodes().size() + 1);
  CHECK(mentions(message_of([&] { with({{"match", "*.add"}, {"act", kAffine}}); }), {"/0/match", "matches no layer"}));
  CHECK(mentions(message_of([&] {
                   with({{"match", "linear"}, {"fold_batch_norm", Json::object()}});
                 }),
                 {"/0/fold_batch_norm", "batch_norm"}));
  CHECK(mentions(message_of([&] { with({{"match", "*"}, {"place", "outside"}}); }), {"place", "outputs"}));
}
