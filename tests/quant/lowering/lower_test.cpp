#include "quant/lowering/lower.h"

#include <filesystem>
#include <set>
#include <thread>

#include "core/file.h"
#include "layers/checkpoint.h"
#include "layers/packed.h"
#include "layers/weight_slot.h"
#include "quant/lowering/inject.h"
#include "tests/apps/scratch.h"
#include "tests/quant/lowering/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

const Json kLsq{{"type", "lsq"}, {"bits", 2}};

Graph affine_network() {
  return quantized_network(resnet_json("post", "A"), integer_rules({{"type", "affine"}}, true));
}
Graph lsq_network() { return quantized_network(resnet_json("post", "A"), input_rules(kLsq, kLsq)); }

Json wide_model() { return resnet_json("post", "B"); }

std::string refusal(const Graph& graph) {
  return message_of([&] { lower(graph); });
}

const Decision& decision(const Lowered& lowered, const std::string& node) {
  return *std::ranges::find(lowered.report, node, &Decision::node);
}

/// Names in the state of a graph, with the storage behind them.
std::set<const void*> storage_of(const Graph& graph) {
  std::set<const void*> result;
  for (const NamedTensor& entry : state_of(graph)) result.insert(entry.tensor.raw());
  return result;
}

Graph reloaded(const Scratch& folder, const Graph& graph) {
  save_checkpoint(folder / "model", graph, Json::object());
  return load_checkpoint(folder / "model").graph;
}

}  // namespace

TEST_CASE("lower: a fused node takes the name of the last node that it absorbed, and the report says all") {
  const Lowered affine = lower(affine_network());
  const Decision& fused = decision(affine, "layer1.0.relu1.out");
  CHECK(fused.became == "int8_conv");
  CHECK(fused.absorbed == std::vector<std::string>{"layer1.0.conv1", "layer1.0.relu1", "layer1.0.relu1.out"});
  CHECK(decision(affine, "layer1.0.relu2.out").absorbed ==
        std::vector<std::string>{"layer1.0.add", "layer1.0.relu2", "layer1.0.relu2.out"});
  CHECK(affine.graph.node("layer1.0.relu1.out").inputs == std::vector<std::string>{"relu1.out"});

  const Lowered lsq = lower(lsq_network());
  CHECK(decision(lsq, "layer1.0.conv2.act").absorbed ==
        std::vector<std::string>{"layer1.0.conv1", "layer1.0.bn1", "layer1.0.relu1", "layer1.0.conv2.act"});
  CHECK(mentions(decision(lsq, "conv1").refusals[0], {"its input is real"}));
  const Decision& block = decision(lsq, "layer1.0.relu2");
  CHECK(block.absorbed == std::vector<std::string>{"layer1.0.conv2", "layer1.0.bn2", "layer1.0.add", "layer1.0.relu2"});
  CHECK(mentions(block.refusals[0], {"output stays real"}));
  CHECK(lsq.graph.node("layer1.0.relu2").inputs == std::vector<std::string>{"layer1.0.conv2.act", "relu1"});
}

TEST_CASE("lower: the policy picks the epilogue, and a model has one") {
  const Graph affine = affine_network();
  CHECK(lower(affine).epilogue == "fixed");
  CHECK(lower(lsq_network()).epilogue == "float");
  const Lowered forced = lower(affine, Config(Json{{"epilogue", "float"}}));
  CHECK(forced.epilogue == "float");
  for (const Node& node : forced.graph.nodes()) {
    const Json options = node.layer->config();
    CHECK(options.value("epilogue", "float") == "float");
  }
  const Tensor x = images(affine, 4, 2);
  CHECK(broken_edges(affine, forced, x) == "");
  const Lowered fixed = lower(lsq_network(), Config(Json{{"epilogue", "fixed"}}));
  CHECK(broken_edges(lsq_network(), fixed, x) == "");
  CHECK(mentions(message_of([&] { lower(affine, Config(Json{{"epilog", "fixed"}})); }), {"epilog", "epilogue"}));
}

TEST_CASE("lower: what cannot be lowered says what to do instead") {
  CHECK(mentions(refusal(trained_model(wide_model())), {"no quantizers", "nibble quantize"}));
  const Graph untrained = quantize(trained_model(wide_model()), Config(input_rules(kLsq, kLsq)));
  CHECK(mentions(refusal(untrained), {"layer1.0.conv1", "not ready", "calibrate"}));
  const Graph uncalibrated = quantize(trained_model(wide_model()), Config(integer_rules({{"type", "affine"}}, false)));
  CHECK(mentions(refusal(uncalibrated), {"input.out", "not ready", "calibrate"}));
  CHECK(mentions(refusal(lower(lsq_network()).graph), {"lowered already"}));
  const Graph no_weights = quantized_network(wide_model(), Json::array({{{"match", "*"}, {"act", kLsq}}}));
  CHECK(mentions(refusal(no_weights), {"no layer", "weight is not quantized", "conv1"}));
}

TEST_CASE("lower: weights whose levels no engine can take stay packed behind a decode, with the reason") {
  Json rules = integer_rules({{"type", "affine"}}, false);
  const Json uneven{{"match", "layer2.0.conv1"},
                    {"place", "outputs"},
                    {"weight", {{"type", "inq"}, {"portions", {1.0}}}},
                    {"act", {{"type", "affine"}}}};
  rules.insert(rules.begin(), uneven);
  const Graph eval = quantized_network(resnet_json("post", "A"), rules);
  const Lowered lowered = lower(eval);
  CHECK(decision(lowered, "layer2.0.conv1").became == "packed_conv");
  CHECK(mentions(decision(lowered, "layer2.0.conv1").refusals[0], {"not equally spaced"}));
  CHECK(lowered.graph.node("layer2.0.conv1").inputs == std::vector<std::string>{"layer1.0.relu2.out.decode"});
  CHECK(broken_edges(eval, lowered, images(eval, 4, 9)) == "");
}

TEST_CASE("lower: weights of few bits with real inputs stay packed, in the file and in memory") {
  const Json kinds[] = {{{"type", "twn"}},
                        {{"type", "ttq"}},
                        {{"type", "bwn"}},
                        {{"type", "lq"}, {"bits", 2}},
                        {{"type", "lq"}, {"bits", 3}}};
  const Scratch folder("lowered-packed");
  for (const Json& kind : kinds) {
    CAPTURE(kind.dump());
    const Graph eval = quantized_network(wide_model(), Json::array({{{"match", "*"}, {"weight", kind}}}));
    const Lowered lowered = lower(eval);
    CHECK(count_of(lowered.graph, "packed_conv") > 5);
    CHECK(count_of(lowered.graph, "conv2d") == 0);
    CHECK(count_of(lowered.graph, "linear") == 0);
    const Tensor x = images(eval, 4, 9);
    CHECK(broken_edges(eval, lowered, x) == "");
    const Graph loaded = reloaded(folder, lowered.graph);
    CHECK(values_of(loaded.forward(x, {})) == values_of(lowered.graph.forward(x, {})));
    const int bits = packed_bits(eval.node("layer1.0.conv1").layer->facts().gemm->weight_grid);
    for (const NamedTensor& entry : state_of(lowered.graph)) {
      const bool levels = entry.name.ends_with(".levels");
      CHECK((entry.tensor.dtype() == DType::u8 || levels || entry.tensor.numel() < 100));  // no weight in float
      if (entry.name == "layer1.0.conv1.weight") CHECK(entry.tensor.numel() == (5 * 5 * 9 * bits + 7) / 8);
    }
  }
}

TEST_CASE("lower: is pure, shares no storage, and the result refuses training") {
  const Graph eval = lsq_network();
  const Tensor x = images(eval, 3, 1);
  const std::vector<float> before = values_of(eval.forward(x, {}));
  const Graph lowered = lower(eval).graph;
  CHECK(values_of(eval.forward(x, {})) == before);
  const std::set<const void*> ours = storage_of(lowered);
  for (const void* theirs : storage_of(eval)) CHECK(ours.count(theirs) == 0);
  Rng rng(1);
  CHECK(mentions(message_of([&] { lowered.forward(x, {Mode::train, &rng}); }), {"cannot be trained"}));
}

TEST_CASE("lower: channels whose batch norm has died or turned negative keep their codes") {
  for (const bool fixed : {true, false}) {
    const Graph eval = quantized_network(resnet_json("post", "A"),
                                         fixed ? integer_rules({{"type", "affine"}}, false) : input_rules(kLsq, kLsq));
    for (const NamedTensor& entry : state_of(eval)) {
      if (entry.name.find("bn") == std::string::npos || entry.name.find(".weight") == std::string::npos) continue;
      const auto scale = entry.tensor.mutable_data<float>();
      scale[0] = 0;
      scale[1] = -scale[1];
      scale[2] = 1e-20f;
    }
    const Lowered lowered = lower(eval);
    CHECK(lowered.epilogue == (fixed ? "fixed" : "float"));
    CHECK(broken_edges(eval, lowered, images(eval, 4, 5)) == "");
  }
}

TEST_CASE("lower: max-pooling in front of the closing quantizer is done on codes, unless what follows it descends") {
  const Graph eval = quantized_network({{"type", "vgg_small"}, {"width", 4}, {"input", {11, 8, 3}}},
                                       input_rules({{"type", "lq"}, {"bits", 1}}, {{"type", "lq"}, {"bits", 2}}));
  const Lowered pooled = lower(eval);
  CHECK(decision(pooled, "conv2_1.act").absorbed ==
        std::vector<std::string>{"conv1_2", "pool1", "bn1_2", "relu1_2", "conv2_1.act"});
  CHECK(decision(pooled, "conv2_1.act").became == "int8_max_pool");
  CHECK(decision(pooled, "conv1_2.codes").became == "bit_conv");
  CHECK(broken_edges(eval, pooled, images(eval, 4, 8)) == "");
  for (const NamedTensor& entry : state_of(eval))
    if (entry.name == "bn1_2.weight") entry.tensor.mutable_data<float>()[1] = -0.5f;
  const Lowered descends = lower(eval);
  CHECK(decision(descends, "pool1").absorbed == std::vector<std::string>{"conv1_2", "pool1"});
  CHECK(decision(descends, "conv3_1.act").became == "int8_max_pool");
  CHECK(broken_edges(eval, descends, images(eval, 4, 8)) == "");
}

TEST_CASE("lower: max-pooling of reals is done by the convolution in front, band by band, with the same bits") {
  const Json quantizer{{"type", "lsq"}, {"bits", 8}};
  const int before = threads();
  for (const Json& stem : {Json{{"kernel", 7}, {"stride", 2}, {"pad", 3}}, Json{{"kernel", {3, 2}}, {"pad", "same"}},
                           Json{{"kernel", 3}, {"stride", 3}, {"pad", 4}}, Json{{"kernel", 3}, {"dilation", 2}}}) {
    Json conv{{"name", "conv1"}, {"type", "conv2d"}, {"in", 3}, {"out", 64}};
    conv.update(stem);
    const Json model{{"type", "graph"},
                     {"input", {150, 121, 3}},
                     {"nodes",
                      {conv,
                       {{"name", "bn"}, {"type", "batch_norm"}, {"channels", 64}},
                       {{"name", "relu"}, {"type", "relu"}},
                       {{"name", "pool"}, {"type", "max_pool"}, {"kernel", 3}, {"stride", 2}, {"pad", 1}},
                       {{"name", "conv2"}, {"type", "conv2d"}, {"in", 64}, {"out", 64}, {"kernel", 3}, {"pad", 1}},
                       {{"name", "sum"}, {"type", "add"}, {"inputs", {"conv2", "pool"}}},
                       {{"name", "mean"}, {"type", "global_avg_pool"}}}}};
    CAPTURE(stem.dump());
    const Graph eval =
        quantized_network(model, Json::array({{{"match", "*"}, {"weight", quantizer}, {"act", quantizer}}}));
    const Lowered lowered = lower(eval);
    CHECK(decision(lowered, "pool").absorbed == std::vector<std::string>{"conv1", "bn", "relu", "pool"});
    CHECK(decision(lowered, "pool").became == "int8_conv");
    CHECK(count_of(lowered.graph, "max_pool") == 0);
    const Tensor x = images(eval, 2, 5);
    for (const int n : {1, 2}) {
      set_threads(n);
      CHECK(broken_edges(eval, lowered, x) == "");
      CHECK(values_of(lower(eval, {.engine = "float"}).graph.forward(x, {})) ==
            values_of(lowered.graph.forward(x, {})));
    }
    set_threads(before);
  }
}

TEST_CASE("lower: a layer that adds a shortcut refuses one of another shape, and a model without it") {
  const Graph lowered = lower(lsq_network()).graph;
  const Node& block = lowered.node("layer1.0.relu2");
  const Tensor codes = Tensor::zeros({1, 8, 8, 5}, DType::u8);
  const auto run = [&](const std::vector<Tensor>& in) { return block.layer->forward(in, {Mode::eval}); };
  const Tensor y = run({codes, Tensor::zeros({1, 8, 8, 5})});
  CHECK(values_of(run({codes, Tensor::full({1, 8, 8, 5}, 2)})) != values_of(y));
  CHECK(std::ranges::all_of(y.data<float>(), [](float v) { return v >= 0; }));
  CHECK_THROWS_WITH_AS(run({codes, Tensor::zeros({1, 8, 8, 4})}), doctest::Contains("is added to an output"), Error);
  CHECK_THROWS_WITH_AS(run({codes}), doctest::Contains("expected 2 inputs, got 1"), Error);
  Graph broken(lowered.input_shape());
  for (const Node& node : lowered.nodes()) {
    auto inputs = node.inputs;
    if (node.name == block.name) inputs.resize(1);
    broken.add(node.name, node.layer, inputs);
  }
  CHECK_THROWS_WITH_AS(codings_of(broken), doctest::Contains("expected codes and values (f32) to add"), Error);
}

TEST_CASE("lower: a saved and loaded model computes the same bits, and its weights take their bits") {
  const Scratch folder("lowered");
  for (const Graph& eval : {affine_network(), lsq_network()}) {
    const Graph lowered = lower(eval).graph, loaded = reloaded(folder, lowered);
    const Tensor x = images(eval, 4, 6);
    CHECK(values_of(loaded.forward(x, {})) == values_of(lowered.forward(x, {})));
    CHECK(values_of(lowered.clone().forward(x, {})) == values_of(lowered.forward(x, {})));
  }
  for (const NamedTensor& entry : state_of(lower(lsq_network()).graph)) {
    if (entry.name == "layer1.0.relu2.weight") CHECK(entry.tensor.bytes() == (5 * 5 * 9 * 2 + 7) / 8);
  }
}

TEST_CASE("lower: several threads may run one loaded model at once") {
  const Scratch folder("lowered-threads");
  const Graph loaded = reloaded(folder, lower(affine_network()).graph);
  const Tensor x = images(loaded, 3, 8);
  const std::vector<float> expected = values_of(loaded.clone().forward(x, {}));
  std::vector<std::vector<float>> found(4);
  std::vector<std::thread> workers;
  for (auto& result : found) workers.emplace_back([&] { result = values_of(loaded.forward(x, {})); });
  for (std::thread& worker : workers) worker.join();
  for (const auto& result : found) CHECK(result == expected);
}

TEST_CASE("lower: a model file whose numbers make no sense is refused when it is loaded") {
  const Scratch folder("lowered-hostile");
  const auto broken_by = [&](const std::string& name, const std::function<void(const Tensor&)>& change) {
    const Graph lowered = lower(affine_network()).graph;
    for (const NamedTensor& entry : state_of(lowered))
      if (entry.name == name) change(entry.tensor);
    return message_of([&] { reloaded(folder, lowered); });
  };
  const std::string node = "layer1.0.relu1.out";
  const auto set = [](int32_t value) { return [value](const Tensor& t) { t.mutable_data<int32_t>()[0] = value; }; };
  CHECK(mentions(broken_by(node + ".multiplier", set(-5)), {node, "multiplier"}));
  CHECK(mentions(broken_by(node + ".shift", set(77)), {node, "shift"}));
  CHECK(mentions(broken_by(node + ".weight_zero", set(-1)), {node}));
  CHECK(mentions(broken_by(node + ".bias", set(std::numeric_limits<int32_t>::max())), {node}));

  const Graph lowered = lower(affine_network()).graph;
  const auto edited = [&](const std::function<void(Json&)>& change) {
    Json json = lowered.to_json();
    for (Json& n : json["nodes"])
      if (n["name"] == node) change(n);
    return message_of([&] { codings_of(Graph::from_json(Config(json))); });
  };
  CHECK(edited([](Json&) {}) == "");
  CHECK(mentions(edited([](Json& n) { n["in_zero"] = 9; }), {node, "expected", "9"}));
  CHECK(mentions(edited([](Json& n) { n["in_zero"] = 300; }), {"in_zero"}));
  CHECK(mentions(edited([](Json& n) { n["real"] = true; }), {"codes"}));
  CHECK(mentions(edited([](Json& n) { n["scale"] = -1; }), {"scale"}));
  CHECK(mentions(edited([](Json& n) { n["lo"] = 200, n["hi"] = 100; }), {"lo"}));
  CHECK(mentions(edited([](Json& n) { n["inputs"] = "nowhere"; }), {"nowhere"}));
  CHECK(edited([](Json& n) { n["out"] = 1 << 28, n["in"] = 1 << 28; }) != "");
}

TEST_CASE("lower: every engine gives the same bits, and auto takes the one that the clock finds fastest") {
  /// Likes the float engine for layers of 10 outputs, integers for the others.
  struct Clock final : EngineClock {
    double seconds(LoweredLayer& layer, const Shape& input) override {
      shapes.push_back(input);
      const bool wide = layer.signature().find("to 10 channels") != std::string::npos;
      return (layer.engine() == "float") == wide ? 1e-6 : 2e-6;
    }
    std::vector<Shape> shapes;
  };
  for (const Graph& eval : {affine_network(), lsq_network()}) {
    Clock clock;
    const Lowered integers = lower(eval), reals = lower(eval, {.engine = "float"});
    const Lowered chosen = lower(eval, {.engine = "auto"}, &clock);
    const Tensor x = images(eval, 5, 3);
    const std::vector<float> expected = values_of(integers.graph.forward(x, {}));
    CHECK(values_of(reals.graph.forward(x, {})) == expected);
    CHECK(values_of(chosen.graph.forward(x, {})) == expected);
    CHECK(values_of(evaluated(eval).graph.forward(x, {})) == expected);
    std::set<std::string> used;
    for (const Decision& d : chosen.report) {
      if (d.engine.empty()) continue;
      used.insert(d.engine);
      CHECK(d.times.size() >= 2);
      CHECK(d.engine == std::ranges::min_element(d.times, {}, &EngineTime::seconds)->engine);
      CHECK(engines_of(chosen.graph).at(d.node) == d.engine);
    }
    CHECK(used == std::set<std::string>{"float", "int8"});
    CHECK(std::ranges::count(clock.shapes, Shape{1, 9, 9, 5}) > 0);
    CHECK(lower(eval, {.engine_of = engines_of(chosen.graph)}).graph.to_json() == chosen.graph.to_json());
  }
  CHECK(evaluated(trained_model(wide_model())).why_real != "");
  CHECK(mentions(message_of([&] { lower(lsq_network(), Config(Json{{"engine", "steam"}})); }), {"steam", "int8"}));
}

TEST_CASE("parity: each injected fault is noticed") {
  for (const Graph& eval : {affine_network(), lsq_network()})
    for (const std::string fault : {"rounding", "zero_point"}) {
      CAPTURE(fault);
      Lowered lowered = lower(eval);
      CHECK(broken_edges(eval, lowered, images(eval, 8, 4)) == "");
      const std::string node = inject(lowered.graph, fault);
      CHECK(mentions(broken_edges(eval, lowered, images(eval, 8, 4)), {node}));
    }
  const Graph lowered = lower(affine_network()).graph;
  CHECK(mentions(message_of([&] { inject(lowered, "luck"); }), {"luck", "rounding"}));
}

TEST_CASE("parity: counts over batches add up") {
  const Graph eval = lsq_network();
  Lowered lowered = lower(eval);
  inject(lowered.graph, "rounding");
  const Graph on_codes = evaluated(eval, {.engine = "float"}).graph;
  std::vector<EdgeParity> total = compare(eval, on_codes, lowered.graph, images(eval, 3, 1)).edges;
  const std::vector<EdgeParity> first = total;
  const std::vector<EdgeParity> second = compare(eval, on_codes, lowered.graph, images(eval, 5, 2)).edges;
  merge(total, second);
  for (size_t i = 0; i < total.size(); ++i) {
    CHECK(total[i].values == first[i].values + second[i].values);
    CHECK(total[i].codes.codes_differ == first[i].codes.codes_differ + second[i].codes.codes_differ);
    CHECK(total[i].alone.codes_differ == first[i].alone.codes_differ + second[i].alone.codes_differ);
    CHECK(total[i].running.max_abs == std::max(first[i].running.max_abs, second[i].running.max_abs));
  }
}

TEST_CASE("lower: nothing in quant/lowering includes a quantizer or a network") {
  const std::set<std::string> allowed{"core", "layers", "quant/lowering", "quant/kernels"};
  for (const auto& file : std::filesystem::directory_iterator(std::string(NIBBLE_SOURCE_DIR) + "/quant/lowering")) {
    const std::string text = read_text_file(file.path().string()), include = "#include \"";
    CHECK(text.find("layers/models") == std::string::npos);
    CHECK(text.find("layers/quantizer.h") == std::string::npos);
    for (size_t at = text.find(include); at != std::string::npos; at = text.find(include, at + 1)) {
      const std::string path =
          text.substr(at + include.size(), text.find('"', at + include.size()) - at - include.size());
      CAPTURE(path);
      CHECK(std::ranges::any_of(allowed, [&](const std::string& folder) { return path.rfind(folder + "/", 0) == 0; }));
    }
  }
}
