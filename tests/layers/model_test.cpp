#include <map>
#include <set>

#include "layers/describe.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Json resnet(const char* type, const char* shortcut, const char* order = "post") {
  return {{"type", type}, {"shortcut", shortcut}, {"order", order}};
}

std::string refusal(const Json& json) {
  return message_of([&json] { build_model(Config(json)); });
}

}  // namespace

TEST_CASE("MobileNet-v1: channels are rounded down, and at least 8") {
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

TEST_CASE("models: VGG-16, ResNet-50, DenseNet-121 and Inception-v3 have torchvision's names") {
  const auto missing = [](const Json& model, const std::vector<std::string>& names) {
    std::set<std::string> state;
    for (const NamedTensor& entry : state_of(build_model(Config(model)))) state.insert(entry.name);
    std::string list;
    for (const std::string& name : names)
      if (state.count(name) == 0) list += name + " ";
    return list;
  };
  CHECK(missing({{"type", "vgg16_bn"}, {"multiplier", 0.1}},
                {"features.0.weight", "features.0.bias", "features.1.running_var", "features.40.weight",
                 "features.41.bias", "classifier.0.weight", "classifier.3.bias", "classifier.6.weight"}) == "");
  CHECK(missing({{"type", "resnet50"}, {"width", 4}},
                {"layer1.0.conv3.weight", "layer1.0.bn3.running_mean", "layer1.0.downsample.1.bias",
                 "layer3.5.bn2.weight", "layer4.2.conv3.weight", "fc.bias"}) == "");
  CHECK(missing({{"type", "densenet121"}, {"multiplier", 0.25}},
                {"features.conv0.weight", "features.norm0.running_mean",
                 "features.denseblock3.denselayer24.norm2.weight", "features.denseblock4.denselayer16.conv1.weight",
                 "features.transition3.conv.weight", "features.norm5.bias", "classifier.weight"}) == "");
  CHECK(missing(
            {{"type", "inception_v3"}, {"multiplier", 0.1}, {"aux", true}},
            {"Conv2d_1a_3x3.conv.weight", "Conv2d_4a_3x3.bn.running_var", "Mixed_5b.branch5x5_2.conv.weight",
             "Mixed_5d.branch_pool.bn.weight", "Mixed_6a.branch3x3dbl_3.conv.weight", "Mixed_6e.branch7x7dbl_5.bn.bias",
             "Mixed_7a.branch7x7x3_4.conv.weight", "Mixed_7c.branch3x3dbl_3b.conv.weight",
             "AuxLogits.conv0.conv.weight", "AuxLogits.conv1.bn.weight", "AuxLogits.fc.weight", "fc.bias"}) == "");
}

TEST_CASE("models: the feature maps have the published extents") {
  const std::vector<std::pair<Json, std::vector<std::pair<std::string, Shape>>>> maps{
      {{{"type", "alexnet_bn"}}, {{"conv1", {1, 55, 55, 96}}, {"relu1", {1, 27, 27, 96}}, {"relu5", {1, 6, 6, 256}}}},
      {{{"type", "alexnet_xnor"}}, {{"conv1", {1, 55, 55, 96}}, {"pool5", {1, 6, 6, 256}}, {"fc6", {1, 1, 1, 4096}}}},
      {{{"type", "alexnet_dorefa"}},
       {{"conv0", {1, 54, 54, 96}},
        {"pool1", {1, 27, 27, 256}},
        {"pool2", {1, 14, 14, 384}},
        {"pool4", {1, 6, 6, 256}}}},
      {{{"type", "densenet121"}},
       {{"features.transition1.pool", {1, 28, 28, 128}},
        {"features.transition3.pool", {1, 7, 7, 512}},
        {"features.norm5", {1, 7, 7, 1024}}}},
      {{{"type", "googlenet_variant"}},
       {{"inception3a.concat", {1, 28, 28, 256}},
        {"inception3b.concat", {1, 14, 14, 480}},
        {"inception4d.concat", {1, 14, 14, 528}},
        {"inception5b.concat", {1, 7, 7, 1024}}}},
      {{{"type", "inception_v3"}, {"aux", true}},
       {{"Mixed_5b.concat", {1, 35, 35, 256}},
        {"Mixed_5d.concat", {1, 35, 35, 288}},
        {"Mixed_6e.concat", {1, 17, 17, 768}},
        {"AuxLogits.conv1.relu", {1, 1, 1, 768}},
        {"Mixed_7a.concat", {1, 8, 8, 1280}},
        {"Mixed_7c.concat", {1, 8, 8, 2048}}}},
      {{{"type", "squeezenext23"}},
       {{"conv1.conv", {1, 111, 111, 64}},
        {"block6.relu", {1, 55, 55, 64}},
        {"block12.relu", {1, 28, 28, 128}},
        {"block20.relu", {1, 14, 14, 256}},
        {"block21.relu", {1, 7, 7, 512}}}},
  };
  for (const auto& row : maps) {
    std::map<std::string, Shape> found;
    for (const NodeInfo& info : describe(build_model(Config(row.first)))) found[info.name] = info.output;
    for (const auto& expected : row.second) {
      CAPTURE(expected.first);
      CHECK(found[expected.first] == expected.second);
    }
  }
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
      {{"type", "resnet50"}, {"width", 2}, {"classes", 10}, {"stride", "1x1"}, {"input", {33, 40, 3}}},
      {{"type", "resnet101"}, {"width", 2}, {"classes", 10}, {"order", "pre"}, {"input", {32, 32, 3}}},
      {{"type", "resnet152"}, {"width", 1}, {"classes", 10}, {"order", "lq"}, {"input", {32, 32, 3}}},
      {{"type", "vgg7"}, {"width", 4}, {"input", {17, 9, 3}}},
      {{"type", "bnn_convnet"}, {"width", 4}, {"activation", "none"}, {"input", {8, 8, 1}}},
      {{"type", "alexnet_bn"}, {"multiplier", 0.04}, {"classes", 10}, {"fc_bias", true}, {"input", {67, 79, 3}}},
      {{"type", "alexnet_xnor"}, {"multiplier", 0.04}, {"classes", 10}, {"input", {64, 71, 3}}},
      {{"type", "alexnet_dorefa"}, {"multiplier", 0.0625}, {"classes", 10}, {"input", {56, 60, 3}}},
      {{"type", "vgg_variant"}, {"multiplier", 0.04}, {"classes", 10}, {"input", {32, 48, 3}}},
      {{"type", "vgg16_bn"}, {"multiplier", 0.03}, {"classes", 10}, {"input", {32, 48, 3}}},
      {{"type", "densenet121"}, {"multiplier", 0.25}, {"classes", 10}, {"input", {32, 41, 3}}},
      {{"type", "densenet121"}, {"multiplier", 0.25}, {"classes", 10}, {"order", "lq"}, {"input", {32, 32, 3}}},
      {{"type", "googlenet_variant"}, {"multiplier", 0.1}, {"classes", 10}, {"input", {35, 32, 3}}},
      {{"type", "inception_v3"}, {"multiplier", 0.05}, {"classes", 10}, {"input", {75, 80, 3}}},
      {{"type", "squeezenext23"}, {"multiplier", 0.3}, {"classes", 10}, {"input", {35, 32, 3}}},
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

TEST_CASE("models: normal weights of AlexNet have LQ-Nets' deviations") {
  const Graph graph =
      build_model(Config(Json{{"type", "alexnet_bn"}, {"init", "normal"}, {"multiplier", 0.04}, {"classes", 10}}));
  const auto deviation = [&graph](const char* name) { return graph.node(name).layer->config()["std"].get<float>(); };
  CHECK(graph.node("conv2").layer->config()["init"] == "normal");
  CHECK(deviation("conv2") == 0.01f);
  CHECK(deviation("fc6") == 0.005f);
  CHECK(deviation("fc7") == 0.005f);
  CHECK(deviation("fc8") == 0.01f);
}

TEST_CASE("models: bad options are refused with the reason") {
  CHECK(mentions(refusal({{"type", "resnet21"}}), {"resnet21", "did you mean 'resnet20'"}));
  CHECK(mentions(refusal({{"type", "resnet_cifar"}, {"depth", 21}}), {"6n + 2", "21"}));
  CHECK(mentions(refusal({{"type", "resnet20"}, {"shortcut", "C"}}), {"/shortcut"}));
  CHECK(mentions(refusal({{"type", "resnet20"}, {"clases", 10}}), {"clases", "did you mean 'classes'"}));
  CHECK(mentions(refusal({{"type", "resnet20"}, {"classes", -1}}), {"/classes"}));
  CHECK(mentions(refusal({{"type", "resnet20"}, {"input", {32, 32}}}), {"input", "[height, width, channels]"}));
  CHECK(mentions(refusal({{"type", "vgg_small"}, {"input", {4, 4, 3}}}), {"'pool3'", "does not fit", "input"}));
  CHECK(mentions(refusal({{"type", "alexnet_bn"}, {"input", {64, 40, 3}}}), {"'pool5'", "does not fit"}));
  CHECK(mentions(refusal({{"type", "alexnet_dorefa"}, {"multiplier", 0.1}}), {"'conv1'", "groups must divide"}));
  CHECK(mentions(refusal({{"type", "inception_v3"}, {"input", {74, 74, 3}}}), {"Mixed_7a.", "does not fit"}));
  CHECK(mentions(refusal({{"type", "resnet50"}, {"stride", "5x5"}}), {"/stride", "3x3"}));
  CHECK(mentions(refusal({{"type", "resnet18"}, {"stem", "5x5"}}), {"/stem", "7x7"}));
  CHECK(mentions(refusal({{"type", "mobilenet_v1"}, {"multiplier", 0}}), {"/multiplier"}));
  CHECK(mentions(refusal("resnet20"), {"object"}));
}
