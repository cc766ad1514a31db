#include "quant/pack.h"

#include <filesystem>

#include "layers/checkpoint.h"
#include "layers/describe.h"
#include "layers/packed.h"
#include "quant/audit.h"
#include "quant/fixed_grid.h"
#include "quant/start.h"
#include "tests/apps/scratch.h"
#include "tests/quant/finished.h"

using namespace nibble;
using namespace nibble::test;

namespace {

const Json kLsq{{"type", "lsq"}, {"bits", 4}};

Graph finished(const Json& rule) {
  const Graph graph = quantized_net(rule);
  const Tensor batch = images(20);
  start_quantizers(graph, {&batch, 1});
  finish_phases(graph);
  return graph;
}

/// Everything but what a file is named.
bool evaluates_alike(const Graph& a, const Graph& b) {
  const Tensor x = images(7, 33);
  return same_bits(a.forward(x, {}), b.forward(x, {}));
}

}  // namespace

TEST_CASE("pack: every method computes the same from its codes, before and after a file, and passes its audit") {
  const Scratch folder("pack");
  for (const Json& method : weight_methods()) {
    CAPTURE(method.dump());
    const Graph graph = finished({{"weight", method}, {"act", kLsq}});
    const Graph packed = pack(graph);
    CHECK(evaluates_alike(graph, packed));
    const std::string path = folder / "packed.safetensors";
    save_packed_checkpoint(path, packed, Json::object());
    const Checkpoint loaded = load_checkpoint(path);
    CHECK(evaluates_alike(graph, loaded.graph));
    for (const AuditLine& line : audit(loaded.graph)) {
      CAPTURE(line.node);
      CHECK(line.complaints == Complaints{});
      if (line.role == "weight") CHECK(line.method == method["type"]);
    }
    const TensorFile file = read_safetensors(path);
    for (const NodeInfo& node : describe(graph)) {
      if (node.weights == 0) continue;
      REQUIRE(file.find(node.name + ".weight.codes") != nullptr);
      CHECK(file.find(node.name + ".weight") == nullptr);
      CHECK(file.find(node.name + ".weight.codes")->numel() == (node.weights * node.weight_bits + 7) / 8);
    }
    CHECK(evaluates_alike(pack(loaded.graph), graph));
  }
}

TEST_CASE("pack: a folded batch norm becomes part of weight and bias") {
  const Json affine{{"type", "affine"}};
  const Graph graph =
      finished({{"weight", affine}, {"act", affine}, {"place", "outputs"}, {"fold_batch_norm", Json::object()}});
  const Graph packed = pack(graph);
  CHECK(packed.node("conv").layer->type() == "conv2d");
  CHECK(evaluates_alike(graph, packed));
  int64_t before = 0, after = 0;
  for (const NodeInfo& node : describe(graph)) before += node.size_bits;
  for (const NodeInfo& node : describe(packed)) after += node.size_bits;
  CHECK(before == after);
}

TEST_CASE("pack: strides, borders, groups and dilation survive") {
  for (const char* text :
       {R"({"in": 2, "out": 4, "kernel": [3, 2], "stride": [2, 1], "pad": [1, 0, 0, 1]})",
        R"({"in": 2, "out": 4, "kernel": 3, "stride": 2, "pad": "same", "groups": 2})",
        R"({"in": 2, "out": 2, "kernel": 3, "pad": 2, "dilation": 2, "groups": 2, "bias": false})"}) {
    CAPTURE(text);
    Graph real(Shape{6, 6, 2});
    Json json = Json::parse(text);
    json["type"] = "conv2d";
    real.add("conv", json, {"input"});
    real.initialize(3);
    const Graph graph = quantize(real, Config(Json::array({{{"match", "*"}, {"weight", {{"type", "twn"}}}}})));
    CHECK(evaluates_alike(graph, pack(graph)));
  }
}

TEST_CASE("pack: a network in float, real weights and training are refused") {
  CHECK(mentions(message_of([] { pack(plain_net()); }), {"no layer has a quantized weight"}));
  const Graph packed = pack(finished({{"weight", kLsq}}));
  Rng rng(1);
  CHECK(mentions(message_of([&] { packed.forward(images(2), {.mode = Mode::train, .rng = &rng}); }),
                 {"conv2d 'conv'", "final"}));
  CHECK_THROWS_AS(FixedGrid(Real{}, Config(nullptr)), Error);
  const Scratch folder("unpacked");
  CHECK(
      mentions(message_of([&] { save_packed_checkpoint(folder / "a", plain_net(), {}); }), {"nothing can be packed"}));
  // The real weight of a network that was not packed first is not on its grid.
  CHECK(mentions(message_of([&] {
                   save_packed_checkpoint(folder / "a", finished({{"weight", kLsq}}), {});
                 }),
                 {"'conv'", "levels"}));
}

TEST_CASE("pack: a file whose codes are damaged is refused with the layer's name") {
  const Scratch folder("damaged");
  const std::string path = folder / "packed.safetensors";
  save_packed_checkpoint(path, pack(finished({{"weight", {{"type", "twn"}}}})), Json::object());
  const TensorFile good = read_safetensors(path);
  const auto message = [&](const std::function<void(Tensor&)>& spoil) {
    TensorFile bad = good;
    for (auto& [name, tensor] : bad.tensors)
      if (name == "conv.weight.codes") spoil(tensor = tensor.clone());
    write_safetensors(path, bad);
    return message_of([&] { load_checkpoint(path); });
  };
  CHECK(message([](Tensor&) {}) == "");
  // Three levels: 3 is no code.
  CHECK(
      mentions(message([](Tensor& t) { t.mutable_data<uint8_t>()[0] |= 3; }), {path, "'conv.weight.codes'", "code 3"}));
  CHECK(mentions(message([](Tensor& t) { t = Tensor::zeros({t.numel() + 1}, DType::u8); }),
                 {path, "'conv.weight.codes'", "72 codes"}));
  CHECK(mentions(message([](Tensor& t) { t = Tensor::zeros({18}); }), {path, "'conv.weight.codes'", "f32"}));
}

TEST_CASE("fixed_grid: options that fit no grid are refused") {
  const auto make = [](const Json& json) { return message_of([&] { make_layer(json); }); };
  CHECK(mentions(make({{"type", "fixed_grid"}}), {"kind"}));
  CHECK(mentions(make({{"type", "fixed_grid"}, {"kind", "uniform"}, {"lo", 3}, {"hi", 2}}), {"lo..hi"}));
  CHECK(mentions(make({{"type", "fixed_grid"}, {"kind", "codebook"}, {"channels", 2}}), {"one channel"}));
  CHECK(make({{"type", "fixed_grid"}, {"kind", "planes"}, {"planes", 8}, {"channels", 3}}) == "");
}
