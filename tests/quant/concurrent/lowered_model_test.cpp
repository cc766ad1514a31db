#include <algorithm>
#include <filesystem>
#include <thread>

#include <unistd.h>

#include "layers/checkpoint.h"
#include "quant/lowering/lowered_model.h"
#include "tests/quant/lowering/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// Has every kind of integer layer that keeps something between images: plans by border, tables, weights.
Json branches() {
  return parse_config(R"({
    "type": "graph", "input": [9, 7, 3],
    "nodes": [
      {"name": "stem", "type": "conv2d", "in": 3, "out": 6, "kernel": 3, "stride": 2, "pad": "same"},
      {"name": "act", "type": "relu"},
      {"name": "dw", "type": "conv2d", "in": 6, "out": 6, "kernel": 3, "pad": 1, "groups": 6},
      {"name": "sum", "type": "add", "inputs": ["act", "dw"]},
      {"name": "high", "type": "max_pool", "inputs": "sum", "kernel": 3, "stride": 1, "pad": 1},
      {"name": "mean", "type": "avg_pool", "inputs": "sum", "kernel": 3, "stride": 1, "pad": 1},
      {"name": "join", "type": "concat", "inputs": ["high", "mean"]},
      {"name": "pool", "type": "global_avg_pool"},
      {"name": "fc", "type": "linear", "in": 12, "out": 5}
    ]})",
                      "branches")
      .json;
}

/// What each of several threads, released together, gets from the one network for its own image sizes.
void check_threads(const Graph& model, const std::vector<Tensor>& inputs) {
  constexpr int kThreads = 4, kRounds = 5;
  std::vector<Tensor> alone;
  for (const Tensor& x : inputs) alone.push_back(model.forward(x, {Mode::eval}));
  const Graph fresh = model.clone();  // so that the threads are the first to need a plan
  for (const Node& node : fresh.nodes()) node.layer->after_load();
  std::vector<int> wrong(kThreads, 0);
  std::vector<std::thread> team;
  for (int t = 0; t < kThreads; ++t)
    team.emplace_back([&, t] {
      for (int round = 0; round < kRounds; ++round)
        for (size_t i = 0; i < inputs.size(); ++i) {
          const size_t at = (i + static_cast<size_t>(t)) % inputs.size();
          wrong[static_cast<size_t>(t)] += same_bits(fresh.forward(inputs[at], {Mode::eval}), alone[at]) ? 0 : 1;
        }
    });
  for (std::thread& thread : team) thread.join();
  CHECK(wrong == std::vector<int>(kThreads, 0));
}

}  // namespace

TEST_CASE("lowered models: several threads run one model at once and get the bits of one thread") {
  const Json lsq{{"type", "lsq"}, {"bits", 4}};
  for (const Json& rules : {integer_rules({{"type", "affine"}}, false), input_rules(lsq, lsq)}) {
    const Lowered lowered = lower(quantized_network(branches(), rules));
    std::vector<Tensor> inputs{images(lowered.graph, 3, 1), normal_tensor({1, 8, 10, 3}, 2),
                               normal_tensor({2, 10, 9, 3}, 3)};
    check_threads(lowered.graph, inputs);
  }
}

TEST_CASE("load_lowered: refuses what does not fit together before any image is seen") {
  const Graph eval = quantized_network(branches(), integer_rules({{"type", "affine"}}, false));
  const Graph graph = lower(eval).graph;
  const std::string path =
      (std::filesystem::temp_directory_path() / concat_text("nibble_lowered_", ::getpid(), ".nib")).string();
  save_checkpoint(path, graph, Json::object());
  CHECK(same_bits(load_lowered(path).forward(images(graph, 2, 1), {Mode::eval}),
                  graph.forward(images(graph, 2, 1), {Mode::eval})));
  const TensorFile file = read_safetensors(path);
  const auto refused = [&](const std::string& node, const std::string& key, const Json& value) {
    TensorFile damaged = file;
    Json json = Json::parse(damaged.metadata.at("nibble.graph"));
    const auto found =
        std::ranges::find_if(json["nodes"], [&](const Json& n) { return n["name"].get<std::string>() == node; });
    REQUIRE(found != json["nodes"].end());
    (*found)[key] = value;
    damaged.metadata["nibble.graph"] = json.dump();
    write_safetensors(path, damaged);
    return message_of([&] { load_lowered(path); });
  };
  CHECK(mentions(refused("fc.out", "inputs", {"nowhere"}), {path, "fc.out", "nowhere"}));
  CHECK(mentions(refused("fc.out", "inputs", {"fc.out"}), {path, "fc.out", "reads itself"}));
  CHECK(mentions(refused("fc.out", "inputs", {"join.out"}), {path, "fc.out"}));
  CHECK(mentions(refused("fc.out", "in_zero", 300), {path, "in_zero"}));
  CHECK(mentions(refused("fc.out", "out", 1 << 22), {path, "int8_conv", "state", "file"}));
  CHECK(mentions(refused("sum.out", "scale", 1e-30), {path, "/nodes/", "scales"}));
  CHECK(mentions(refused("dw.out", "pad", 4096), {path, "dw.out", "values per sample"}));
  save_checkpoint(path, eval, Json::object());
  CHECK(mentions(message_of([&] { load_lowered(path); }), {path, "nibble lower"}));
  std::filesystem::remove(path);
}
