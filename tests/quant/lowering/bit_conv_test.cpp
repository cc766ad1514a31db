#include "quant/lowering/bit_conv.h"

#include <cmath>
#include <functional>
#include <limits>

#include "layers/checkpoint.h"
#include "layers/packed.h"
#include "tests/apps/scratch.h"
#include "tests/quant/lowering/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

const Json kLq{{"type", "lq"}, {"bits", 2}}, kLsq{{"type", "lsq"}, {"bits", 2}};

/// Codes go in and out of its bit_conv layers by learned levels, or by equally spaced ones.
Graph bit_network(bool learned) {
  const Json& method = learned ? kLq : kLsq;
  const Graph eval = quantized_network(resnet_json("post", "A"), input_rules(method, method));
  return lower(eval, LowerOptions{.engine = "bits"}).graph;
}

/// A layer between two quantizers, and one whose output stays real.
const std::string kInner = "layer1.0.conv2.act", kReal = "layer1.0.relu2";

const BitConvLayer& layer_of(const Graph& graph, const std::string& name) {
  return dynamic_cast<const BitConvLayer&>(*graph.node(name).layer);
}

/// What loading says of a file in which a change was made to a tensor of kInner.
std::string refusal(bool learned, const std::string& tensor, const std::function<void(const Tensor&)>& change) {
  const Scratch folder("bit-conv-hostile");
  const Graph graph = bit_network(learned);
  bool found = false;
  for (const NamedTensor& entry : state_of(graph)) {
    if (entry.name != kInner + "." + tensor) continue;
    change(entry.tensor);
    found = true;
  }
  REQUIRE(found);
  save_checkpoint(folder / "model", graph, Json::object());
  return message_of([&] { load_checkpoint(folder / "model"); });
}

/// The same of a file in which options of a node were changed.
std::string refusal(bool learned, const std::string& node, const std::function<void(Json&)>& change) {
  Json json = bit_network(learned).to_json();
  for (Json& n : json["nodes"])
    if (n["name"] == node) change(n);
  return message_of([&] { codings_of(Graph::from_json(Config(json))); });
}

std::function<void(const Tensor&)> set(float value, size_t at = 0) {
  return [=](const Tensor& t) { t.mutable_data<float>()[at] = value; };
}

}  // namespace

TEST_CASE("bit_conv: what is damaged here is whole before") {
  for (const bool learned : {false, true}) {
    const Graph graph = bit_network(learned);
    const BitConvLayer::Options& inner = layer_of(graph, kInner).options();
    CHECK(inner.rule == (learned ? "learned" : "integer"));
    CHECK(inner.rounds == !learned);
    CHECK(inner.thresholds.size() == (learned ? 3 : 0));
    CHECK(layer_of(graph, kReal).options().real);
    for (const char* tensor : {"weight", "w_offset", "w_basis", "scale", "offset"})
      CHECK(refusal(learned, tensor, [](const Tensor&) {}) == "");
    CHECK(refusal(learned, kInner, [](Json&) {}) == "");
  }
}

TEST_CASE("bit_conv: a file whose planes or levels make no sense is refused when it is loaded") {
  const auto refused = [](bool learned, const std::string& tensor, const std::function<void(const Tensor&)>& change,
                          const std::string& what) {
    CAPTURE(tensor);
    const std::string message = refusal(learned, tensor, change);
    CAPTURE(message);
    CHECK(mentions(message, {kInner, what}));
  };
  const auto nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const bool learned : {false, true}) {
    // 5x5x9 codes of 2 bits leave 6 bits of the last byte.
    refused(
        learned, "weight", [](const Tensor& t) { t.mutable_data<uint8_t>().back() |= 0x80; }, "bits behind");
    for (const float value : {nan, infinity, -infinity, 3e38f}) {
      refused(learned, "w_offset", set(value), "w_offset");
      refused(learned, "w_basis", set(value, 1), "w_basis");
    }
    for (const float value : {nan, infinity}) {
      refused(learned, "scale", set(value, 2), "scale");
      refused(learned, "offset", set(value, 2), "offset");
    }
    refused(learned, "scale", set(3e38f), "values can reach");
    refused(learned, "offset", set(3e38f), "offset");
  }
  refused(false, "w_basis", set(0.5f), "integer");
  refused(false, "w_offset", set(1e9f), "integer");
}

TEST_CASE("bit_conv: a file whose sizes do not fit its tensors is refused when it is loaded") {
  const Scratch folder("bit-conv-sizes");
  const auto refused = [&](const std::string& tensor, const Tensor& instead) {
    CAPTURE(tensor);
    TensorFile file;
    const Graph graph = bit_network(true);
    file.metadata["nibble.graph"] = graph.to_json().dump();
    file.metadata["nibble.config"] = "{}";
    for (const NamedTensor& entry : state_of(graph))
      file.tensors.emplace_back(entry.name, entry.name == kInner + "." + tensor ? instead : entry.tensor);
    CHECK(mentions(message_of([&] { checkpoint_from(std::move(file), "damaged"); }), {kInner + "." + tensor}));
  };
  refused("weight", Tensor::zeros({5 * 5 * 9 * 2 / 8}, DType::u8));
  refused("weight", Tensor::zeros({(5 * 5 * 9 * 2 + 7) / 8}, DType::f32));
  refused("w_offset", Tensor::zeros({4}));
  refused("w_basis", Tensor::zeros({3, 5}));
  refused("w_basis", Tensor::zeros({0}));
  refused("scale", Tensor::zeros({6}));
  refused("offset", Tensor::zeros({5}, DType::i32));
}

TEST_CASE("bit_conv: options that make no sense are one clear error") {
  const auto refused = [](bool learned, const std::string& node, const std::function<void(Json&)>& change,
                          const std::vector<std::string>& what) {
    const std::string message = refusal(learned, node, change);
    CAPTURE(message);
    CHECK(mentions(message, what));
    CHECK(mentions(message, {"at /nodes/"}));
  };
  using Where = Json&;
  // Learned levels: thresholds.
  refused(true, kInner, [](Where n) { std::swap(n["thresholds"][0], n["thresholds"][2]); }, {"threshold", "order"});
  refused(true, kInner, [](Where n) { n["thresholds"][1] = kNan; }, {"thresholds/1", "finite"});
  refused(true, kInner, [](Where n) { n["thresholds"][2] = kInfinity; }, {"thresholds/2", "finite"});
  refused(true, kInner, [](Where n) { n["thresholds"][2] = 1e300; }, {"threshold 2", "finite"});
  refused(true, kInner, [](Where n) { n["thresholds"].push_back(1e6); }, {"4 thresholds"});
  refused(true, kInner, [](Where n) { n["codes"].erase(0); }, {"3 codes"});
  refused(true, kInner, [](Where n) { n["codes"][1] = 4; }, {"4", "no code"});
  refused(true, kInner,
          [](Where n) { n["thresholds"] = std::vector<double>(16, 1.0), n["codes"] = std::vector<int>(17); },
          {"16 thresholds"});
  // Bits of the activations, which are the input's coding once more.
  for (const bool learned : {false, true}) {
    refused(learned, kInner, [](Where n) { n["a_basis"].push_back(1); }, {"a_basis"});
    refused(learned, kInner, [](Where n) { n["a_basis"] = Json::array(); }, {"a_basis"});
    refused(learned, kInner, [](Where n) { n["a_basis"][0] = kNan; }, {"a_basis"});
    refused(learned, kInner, [](Where n) { n["a_basis"][1] = 0.7; }, {"a_basis"});
    refused(learned, kInner, [](Where n) { n["a_offset"] = kInfinity; }, {"a_offset"});
    refused(learned, kInner, [](Where n) { n["a_offset"] = -1.5; }, {"a_offset"});
    refused(learned, kInner, [](Where n) { n["a_bits"] = 1; }, {"a_bits"});
    refused(learned, kInner, [](Where n) { n["a_shift"] = 1; }, {"a_shift"});
    refused(learned, kInner, [](Where n) { n["a_bits"] = 9; }, {"a_bits"});
    refused(learned, kInner, [](Where n) { n["w_bits"] = 5; }, {"w_bits"});
    refused(learned, kInner, [](Where n) { n["groups"] = 3; }, {"groups"});
    refused(learned, kInner, [](Where n) { n["engine"] = "steam"; }, {"engine"});
    refused(learned, kInner, [](Where n) { n["kernel"] = 1 << 20, n["in"] = 1 << 20, n["out"] = 1 << 20; }, {});
    refused(learned, kReal, [](Where n) { n["thresholds"] = {1}, n["codes"] = {0, 1}; }, {"real", "thresholds"});
    refused(learned, kReal, [](Where n) { n["least"] = 2, n["most"] = 1; }, {"least"});
    CHECK(mentions(refusal(learned, kReal, [](Where n) { n["adds"] = false; }), {kReal, "expected 1 input, got 2"}));
    refused(learned, kInner, [](Where n) { n["adds"] = true; }, {"only a real output"});
    refused(learned, kInner, [](Where n) { n["least"] = 0; }, {"only a real output"});
  }
  refused(true, kInner, [](Where n) { n["in_basis"][0] = 7; }, {"a_basis"});
  refused(true, kInner, [](Where n) { n["rule"] = "integer"; }, {"learned", "channel"});
  refused(false, kInner, [](Where n) { n["per_channel"] = true; }, {"learned"});
  refused(false, kInner, [](Where n) { n["thresholds"] = {1}, n["codes"] = {0, 1}; }, {"rounds", "thresholds"});
  refused(false, kInner, [](Where n) { n["hi"] = 77; }, {"hi 77"});
  refused(false, kInner, [](Where n) { n["lo"] = 3, n["hi"] = 1; }, {"lo 3"});
}

TEST_CASE("bit_conv: a border that would take more memory than any image is refused, not allocated") {
  BitConvLayer::Options o;
  o.input.levels = 2;
  o.in = 1 << 10;
  o.kernel = {3, 3};
  o.stride = {1 << 20, 1 << 20};
  o.pad.pixels = {1 << 20, 1 << 20, 1 << 20, 1 << 20};
  o.take_input(o.input);
  o.real = true;
  BitConvLayer layer(o);
  layer.after_load();
  const Tensor x = Tensor::zeros({1, 4, 4, 1 << 10}, DType::u8);
  CHECK(mentions(message_of([&] { layer.forward({&x, 1}, {Mode::eval}); }), {"too large", "border"}));
}
