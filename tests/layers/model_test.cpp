#include "layers/describe.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

struct Totals {
  int64_t parameters = 0, macs = 0;
  bool operator==(const Totals&) const = default;
};

Totals totals_of(const Json& json) {
  const Graph graph = build_model(Config(json));
  Totals totals;
  for (const NodeInfo& info : describe(graph)) {
    totals.parameters += info.parameters;
    totals.macs += info.macs;
  }
  int64_t scalars = 0;
  for (const NamedTensor& entry : parameters_of(graph)) scalars += entry.tensor.numel();
  CHECK(scalars == totals.parameters);
  return totals;
}

Json resnet(const char* type, const char* shortcut, const char* order = "post") {
  return {{"type", type}, {"shortcut", shortcut}, {"order", order}};
}

std::string refusal(const Json& json) {
  return message_of([&json] { build_model(Config(json)); });
}

}  // namespace

TEST_CASE("CIFAR ResNets: parameters and multiply-accumulates of every depth, to the last one") {
  CHECK(totals_of(resnet("resnet20", "A")) == Totals{269'722, 40'551'040});
  CHECK(totals_of(resnet("resnet32", "A")) == Totals{464'154, 68'862'592});
  CHECK(totals_of(resnet("resnet44", "A")) == Totals{658'586, 97'174'144});
  CHECK(totals_of(resnet("resnet56", "A")) == Totals{853'018, 125'485'696});
  CHECK(totals_of(resnet("resnet110", "A")) == Totals{1'727'962, 252'887'680});
  CHECK(totals_of(resnet("resnet20", "B")) == Totals{272'474, 40'813'184});
  CHECK(totals_of(resnet("resnet32", "B")) == Totals{466'906, 69'124'736});
  CHECK(totals_of(resnet("resnet44", "B")) == Totals{661'338, 97'436'288});
  CHECK(totals_of(resnet("resnet56", "B")) == Totals{855'770, 125'747'840});
  CHECK(totals_of(resnet("resnet110", "B")) == Totals{1'730'714, 253'149'824});
}

TEST_CASE("CIFAR ResNets: the pre-activation and LQ orders have the published counts") {
  CHECK(totals_of(resnet("resnet20", "A", "pre")) == Totals{269'722, 40'551'040});
  CHECK(totals_of(resnet("resnet20", "B", "pre")) == Totals{272'282, 40'813'184});
  CHECK(totals_of(resnet("resnet20", "A", "lq")) == Totals{270'394, 40'551'040});
  CHECK(totals_of(resnet("resnet20", "B", "lq")) == Totals{273'146, 40'813'184});
  CHECK(totals_of(resnet("resnet56", "A", "lq")) == Totals{855'034, 125'485'696});
}

TEST_CASE("ImageNet ResNets: parameters and multiply-accumulates, in all orders and with both shortcuts") {
  CHECK(totals_of(resnet("resnet18", "B")) == Totals{11'689'512, 1'814'073'344});
  CHECK(totals_of(resnet("resnet34", "B")) == Totals{21'797'672, 3'663'761'408});
  CHECK(totals_of(resnet("resnet18", "A")) == Totals{11'515'688, 1'794'805'760});
  CHECK(totals_of(resnet("resnet34", "A")) == Totals{21'623'848, 3'644'493'824});
  CHECK(totals_of(resnet("resnet18", "B", "pre")) == Totals{11'687'720, 1'814'073'344});
  CHECK(totals_of(resnet("resnet34", "B", "pre")) == Totals{21'795'880, 3'663'761'408});
  CHECK(totals_of(resnet("resnet18", "B", "lq")) == Totals{11'693'352, 1'814'073'344});
  CHECK(totals_of(resnet("resnet34", "B", "lq")) == Totals{21'805'224, 3'663'761'408});
  CHECK(totals_of(resnet("resnet18", "A", "lq")) == Totals{11'519'528, 1'794'805'760});
  // 64 x 64 pixels, 200 classes, convolution of 3 x 3 in front: 9,408 - 1,728 weights and 800 classes fewer.
  const Json small{{"type", "resnet18"}, {"stem", "3x3"}, {"classes", 200}, {"input", {64, 64, 3}}};
  CHECK(totals_of(small).parameters == 11'689'512 - (9'408 - 1'728) - 800 * 513);
}

TEST_CASE("MobileNet-v1: parameters and multiply-accumulates for every multiplier and image size of the paper") {
  const auto mobile = [](double multiplier, int side) {
    return totals_of({{"type", "mobilenet_v1"}, {"multiplier", multiplier}, {"input", {side, side, 3}}});
  };
  CHECK(mobile(1.0, 224) == Totals{4'231'976, 568'740'352});
  CHECK(mobile(0.75, 224) == Totals{2'585'560, 325'400'448});
  CHECK(mobile(0.5, 224) == Totals{1'331'592, 149'497'088});
  CHECK(mobile(0.25, 224) == Totals{470'072, 41'030'272});
  CHECK(mobile(1.0, 192).macs == 418'121'728);
  CHECK(mobile(0.75, 160).macs == 166'396'800);
  CHECK(mobile(0.5, 128).macs == 49'160'192);
  CHECK(mobile(0.25, 192).macs == 30'212'608);
  CHECK(totals_of({{"type", "mobilenet_v1"}, {"classes", 1001}}) == Totals{4'233'001, 568'741'376});
  // Channels are rounded down, and at least 8.
  const Graph thin = build_model(Config(Json{{"type", "mobilenet_v1"}, {"multiplier", 0.1}, {"input", {32, 32, 3}}}));
  const auto out = [&thin](const char* name) { return thin.node(name).layer->config()["out"].get<int>(); };
  CHECK(out("conv1") == 8);
  CHECK(out("block2.conv2") == 12);
  CHECK(out("block13.conv2") == 102);
}

TEST_CASE("ImageNet ResNets: the state has torchvision's names, and images have the shapes of the paper") {
  const Graph graph = build_model(Config(resnet("resnet18", "B")));
  std::vector<std::string> names;
  for (const NamedTensor& entry : state_of(graph)) names.push_back(entry.name);
  CHECK(names.size() == 21 + 1 + 20 * 4);  // weights, a bias, batch norms
  for (const char* name : {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer4.1.bn2.bias",
                           "layer2.0.downsample.0.weight", "layer4.0.downsample.1.running_mean", "fc.bias"})
    CHECK_MESSAGE(std::find(names.begin(), names.end(), name) != names.end(), name);
  for (const NodeInfo& info : describe(graph)) {
    if (info.name == "conv1") CHECK(info.output == Shape{1, 112, 112, 64});
    if (info.name == "maxpool") CHECK(info.output == Shape{1, 56, 56, 64});
    if (info.name == "layer2.0.add") CHECK(info.output == Shape{1, 28, 28, 128});
    if (info.name == "layer4.1.relu2") CHECK(info.output == Shape{1, 7, 7, 512});
  }
}

TEST_CASE("VGG-Small: parameters and multiply-accumulates, with all batch norms affine and with HWGQ's choice") {
  CHECK(totals_of({{"type", "vgg_small"}}) == Totals{4'660'106, 607'600'640});
  CHECK(totals_of({{"type", "vgg_small"}, {"affine", "last"}}) == Totals{4'657'546, 607'600'640});
}

TEST_CASE("CIFAR ResNets: the state has the names of PyTorch's reference model") {
  std::vector<std::string> names;
  for (const NamedTensor& entry : state_of(build_model(Config(resnet("resnet20", "B"))))) names.push_back(entry.name);
  const auto has = [&names](const char* name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  CHECK(names.front() == "conv1.weight");
  CHECK(names.back() == "linear.bias");
  CHECK(names.size() == 21 + 1 + 19 * 4 + 1 + 2 * 4 - 1 + 1);
  CHECK(has("bn1.running_var"));
  CHECK(has("layer1.0.conv1.weight"));
  CHECK(has("layer3.2.bn2.bias"));
  CHECK(has("layer2.0.shortcut.0.weight"));
  CHECK(has("layer3.0.shortcut.1.running_mean"));
  CHECK_FALSE(has("layer1.0.shortcut.0.weight"));
}

TEST_CASE("describe: the table of ResNet-20 has the shapes of the paper") {
  const std::vector<NodeInfo> table = describe(build_model(Config(resnet("resnet20", "A"))));
  const auto row = [&table](const std::string& name) {
    for (const NodeInfo& info : table)
      if (info.name == name) return info;
    return NodeInfo{};
  };
  CHECK(row("conv1").output == Shape{1, 32, 32, 16});
  CHECK(row("conv1").macs == 442'368);
  CHECK(row("conv1").parameters == 432);
  CHECK(row("conv1").weight_bits == 32);
  CHECK(row("layer2.0.shortcut").type == "shortcut_a");
  CHECK(row("layer2.0.add").output == Shape{1, 16, 16, 32});
  CHECK(row("layer3.2.relu2").output == Shape{1, 8, 8, 64});
  CHECK(row("pool").output == Shape{1, 64});
  CHECK(row("linear").output == Shape{1, 10});
  CHECK(row("linear").parameters == 650);
  CHECK(mentions(message_of([] { describe(Graph()); }), {"shape"}));
}

TEST_CASE("models: a CIFAR ResNet without activations has the other nodes as before") {
  const Graph with = build_model(parse_config(R"({"type":"resnet_cifar","depth":8,"order":"pre"})", "m.json"));
  const Graph without =
      build_model(parse_config(R"({"type":"resnet_cifar","depth":8,"order":"pre","activation":"none"})", "m.json"));
  std::vector<std::string> expected, names;
  for (const Node& node : with.nodes())
    if (node.layer->type() != "relu") expected.push_back(node.name);
  for (const Node& node : without.nodes()) names.push_back(node.name);
  CHECK(names == expected);
}

TEST_CASE("models: every one is built, written out, read back and run in both modes") {
  const std::vector<Json> models{
      {{"type", "resnet_cifar"}, {"depth", 8}, {"width", 4}},
      {{"type", "resnet_cifar"}, {"depth", 14}, {"width", 4}, {"order", "pre"}, {"shortcut", "B"}},
      {{"type", "resnet_cifar"}, {"depth", 14}, {"width", 4}, {"order", "lq"}, {"pool", "average"}, {"pad", "behind"}},
      {{"type", "resnet_cifar"}, {"depth", 8}, {"width", 4}, {"order", "pre"}, {"activation", "none"}},
      {{"type", "small_resnet"}, {"width", 4}, {"classes", 7}, {"input", {16, 12, 1}}},
      {{"type", "vgg_small"}, {"width", 4}, {"input", {17, 9, 3}}},
      {{"type", "resnet18"}, {"width", 3}, {"classes", 10}, {"input", {33, 40, 3}}},
      {{"type", "resnet34"}, {"width", 2}, {"classes", 10}, {"stem", "3x3"}, {"order", "pre"}, {"input", {9, 9, 1}}},
      {{"type", "resnet18"}, {"width", 2}, {"classes", 10}, {"order", "lq"}, {"shortcut", "A"}, {"input", {32, 32, 3}}},
      {{"type", "mobilenet_v1"}, {"multiplier", 0.25}, {"classes", 10}, {"dropout", 0.1}, {"input", {35, 32, 3}}},
      {{"type", "mobilenet_v1"}, {"multiplier", 0.1}, {"classes", 10}, {"activation", "relu"}, {"input", {32, 32, 3}}},
  };
  for (const Json& json : models) {
    CAPTURE(json.dump());
    const Graph graph = trained_model(json);
    const Shape& sample = graph.input_shape();
    const Tensor x = random_tensor({2, sample[0], sample[1], sample[2]}, 1);
    const Tensor y = graph.forward(x, {});
    CHECK(y.shape() == Shape{2, json.value("classes", 10)});
    const Graph clone = graph.clone();
    CHECK(clone.to_json() == graph.to_json());
    CHECK(same_bits(clone.forward(x, {}), y));
    Rng rng(1);
    backward(mean(graph.forward(x, {Mode::train, &rng})));
    for (const NamedTensor& entry : parameters_of(graph)) CHECK(entry.tensor.grad().defined());
  }
}

TEST_CASE("models: bad options are refused with the reason") {
  CHECK(mentions(refusal({{"type", "resnet21"}}), {"resnet21", "did you mean 'resnet20'"}));
  CHECK(mentions(refusal({{"type", "resnet_cifar"}, {"depth", 21}}), {"6n + 2", "21"}));
  CHECK(mentions(refusal({{"type", "resnet20"}, {"shortcut", "C"}}), {"/shortcut"}));
  CHECK(mentions(refusal({{"type", "resnet20"}, {"clases", 10}}), {"clases", "did you mean 'classes'"}));
  CHECK(mentions(refusal({{"type", "resnet20"}, {"classes", -1}}), {"/classes"}));
  CHECK(mentions(refusal({{"type", "resnet20"}, {"input", {32, 32}}}), {"input", "[height, width, channels]"}));
  CHECK(mentions(refusal({{"type", "vgg_small"}, {"input", {4, 4, 3}}}), {"8 x 8"}));
  CHECK(mentions(refusal({{"type", "resnet18"}, {"stem", "5x5"}}), {"/stem", "7x7"}));
  CHECK(mentions(refusal({{"type", "mobilenet_v1"}, {"multiplier", 0}}), {"/multiplier"}));
  CHECK(mentions(refusal("resnet20"), {"object"}));
}
