#include <cstring>
#include <limits>

#include "core/parallel.h"
#include "layers/elementwise_quantizer.h"
#include "layers/fuse.h"
#include "quant/policy.h"
#include "tests/layers/training_step.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Graph quantized(const Json& model, const Json& act) {
  const Json rules = Json::array({{{"match", "*"}, {"weight", {{"type", "lsq"}, {"bits", 3}}}, {"act", act}}});
  return quantize(trained_model(model), Config(rules, "run.json", "/quant"));
}

int64_t count_of(const FusedGraph& fused, const std::string& rule) {
  return std::ranges::count_if(fused.fusions, [&](const Fusion& f) { return f.rule == rule; });
}

/// A convolution, a batch norm, perhaps a sum, a clamp, a quantizer, and as many sums that read the clamp, too.
Graph chain(int channels, const std::string& clamp, bool residual, const Json& quantizer, int other_readers = 0) {
  Graph graph(Shape{9, 7, 3});
  graph.add("conv", {{"type", "conv2d"}, {"in", 3}, {"out", channels}, {"kernel", 3}}, {"input"});
  graph.add("norm", {{"type", "batch_norm"}, {"channels", channels}}, {"conv"});
  if (residual) graph.add("sum", {{"type", "add"}}, {"norm", "conv"});
  graph.add("clamp", {{"type", clamp}}, {residual ? "sum" : "norm"});
  std::string last = graph.add("quantizer", quantizer, {"clamp"});
  for (int i = 0; i < other_readers; ++i)
    last = graph.add("reader" + std::to_string(i), {{"type", "add"}}, {last, "clamp"});
  graph.initialize(3);
  return graph;
}

const Json kAct{{"type", "lsq"}, {"bits", 2}};

}  // namespace

TEST_CASE("fuse: with quantizers two training steps are the same bits, the first with steps yet to be found") {
  const Json image{32, 32, 3};
  const Json eight_bits{{"type", "lsq"}, {"bits", 8}, {"features", "channels"}, {"init", "mse"}},
      slanted{{"type", "lsq"}, {"bits", 3}, {"backward", "log_tailed"}};
  for (const auto& pair : std::vector<std::pair<Json, Json>>{
           {{{"type", "resnet20"}, {"width", 5}, {"input", image}}, kAct},  // a block of rows is no round number
           {{{"type", "resnet20"}, {"width", 8}, {"shortcut", "B"}, {"input", image}}, eight_bits},
           {{{"type", "resnet20"}, {"width", 4}, {"order", "pre"}, {"input", image}}, slanted}}) {
    CAPTURE(pair.first.dump());
    CAPTURE(pair.second.dump());
    const Graph plain = quantized(pair.first, pair.second), copy = plain.clone();
    const FusedGraph fused = fuse(copy);
    CHECK(count_of(fused, "norm_clamp_quantize") + count_of(fused, "norm_clamp_and_quantize") >= 17);
    const Tensor x = normal_tensor({4, 32, 32, 3}, 1);
    for (int step = 0; step < 2; ++step) {
      const bool same = step_of(plain, plain, x) == step_of(copy, fused.graph, x);
      CHECK(same);
    }
    const Tensor want = plain.forward(x, {}), got = fused.graph.forward(x, {});
    CHECK(std::memcmp(want.raw(), got.raw(), want.bytes()) == 0);
  }
}

TEST_CASE("fuse: a quantizer joins the batch norm, the sum and the clamp in front of it, to the same bits") {
  Json act = kAct;
  act["step"] = 0.4;
  for (const int channels : {1, 3, 16, 129})
    for (const char* clamp : {"relu", "relu6"})
      for (const bool residual : {false, true})
        for (const bool shared : {false, true}) {
          CAPTURE(channels);
          CAPTURE(residual);
          CAPTURE(shared);
          const Graph plain = chain(channels, clamp, residual, act, shared), copy = plain.clone();
          const FusedGraph fused = fuse(copy);
          REQUIRE(fused.fusions.size() == 1);
          CHECK(fused.fusions[0].rule == (shared ? "norm_clamp_and_quantize" : "norm_clamp_quantize"));
          CHECK(fused.fusions[0].absorbed.back() == (shared ? "clamp" : "quantizer"));
          CHECK(fused.graph.nodes().size() == (shared ? 4 : 2));
          const Tensor x = normal_tensor({9, 9, 7, 3}, 2, 0, 2);
          const auto want = step_of(plain, plain, x), got = step_of(copy, fused.graph, x);
          const bool same = want == got;
          CHECK(same);
          CHECK(got.at("gradient of quantizer.step") != "none");
        }
}

TEST_CASE("fuse: a clamp without a batch norm joins its quantizer, with the sum in front, to the same bits") {
  const Json affine{{"type", "affine"}, {"bits", 8}}, slow{{"type", "affine"}, {"bits", 6}, {"delay", 1}},
      slanted{{"type", "affine"}, {"bits", 4}, {"ties", "even"}, {"backward", "bireal"}},
      learned{{"type", "lsq"}, {"bits", 2}, {"step", 0.4}};
  for (const Json& act : {affine, slow, slanted, learned})
    for (const char* clamp : {"relu", "relu6"})
      for (const bool residual : {false, true}) {
        CAPTURE(act.dump());
        CAPTURE(clamp);
        CAPTURE(residual);
        Graph plain(Shape{9, 7, 3});
        plain.add("conv", {{"type", "conv2d"}, {"in", 3}, {"out", 5}, {"kernel", 3}}, {"input"});
        plain.add("other", {{"type", "conv2d"}, {"in", 3}, {"out", 5}, {"kernel", 3}}, {"input"});
        if (residual) plain.add("sum", {{"type", "add"}}, {"conv", "other"});
        plain.add("clamp", {{"type", clamp}}, {residual ? "sum" : "conv"});
        plain.add("quantizer", act, {"clamp"});
        plain.initialize(3);
        const Graph copy = plain.clone();
        const FusedGraph fused = fuse(copy);
        REQUIRE(count_of(fused, "clamp_quantize") == 1);
        CHECK(fused.graph.nodes().size() == plain.nodes().size() - (residual ? 2 : 1));
        const Tensor x = normal_tensor({9, 9, 7, 3}, 2, 0, 9);
        for (int step = 0; step < 3; ++step) {
          const bool same = step_of(plain, plain, x) == step_of(copy, fused.graph, x);
          CHECK(same);
        }
        const Tensor want = plain.forward(x, {}), got = fused.graph.forward(x, {});
        CHECK(std::memcmp(want.raw(), got.raw(), want.bytes()) == 0);
        Tensor poison = x.clone();
        poison.mutable_data<float>()[17] = std::numeric_limits<float>::quiet_NaN();
        const std::string message = message_of([&] { fused.graph.forward(poison, {.mode = Mode::train}); });
        CAPTURE(message);
        CHECK(mentions(message, {"'quantizer'", act["type"].get<std::string>()}));
      }
}

TEST_CASE("fuse: integer-only networks train to the same bits") {
  const Json rules = Json::array({{{"match", "*"},
                                   {"place", "outputs"},
                                   {"weight", {{"type", "affine"}}},
                                   {"act", {{"type", "affine"}}},
                                   {"fold_batch_norm", Json::object()}}});
  const Graph plain = quantize(trained_model({{"type", "resnet20"}, {"width", 6}, {"input", {16, 16, 3}}}),
                               Config(rules, "run.json", "/quant")),
              copy = plain.clone();
  const FusedGraph fused = fuse(copy);
  CHECK(count_of(fused, "clamp_quantize") == 19);
  const Tensor x = normal_tensor({5, 16, 16, 3}, 1);
  for (int step = 0; step < 2; ++step) {
    const bool same = step_of(plain, plain, x) == step_of(copy, fused.graph, x);
    CHECK(same);
  }
}

TEST_CASE("fuse: of two quantizers that read a clamp one is done ahead, and each is trained") {
  Graph plain = chain(5, "relu", false, {{"type", "lsq"}, {"bits", 2}, {"step", 0.4}});
  plain.add("other", {{"type", "lsq"}, {"bits", 4}, {"step", 0.1}}, {"clamp"});
  plain.set_outputs({"other", "quantizer"});
  const Graph copy = plain.clone();
  const FusedGraph fused = fuse(copy);
  CHECK(count_of(fused, "norm_clamp_and_quantize") == 1);
  const Tensor x = normal_tensor({9, 9, 7, 3}, 2);
  const auto want = step_of(plain, plain, x), got = step_of(copy, fused.graph, x);
  const bool same = want == got;
  CHECK(same);
  CHECK(got.at("gradient of other.step") != "none");
}

TEST_CASE("fuse: a clamp that only a graph's output and a quantizer read passes on whichever gradient comes") {
  for (const char* output : {"clamp", "quantizer"}) {
    CAPTURE(output);
    const Graph plain = chain(3, "relu", false, {{"type", "lsq"}, {"bits", 2}, {"step", 0.4}}), copy = plain.clone();
    Graph run = fuse([&] {
                  Graph both = copy;
                  both.set_outputs({"clamp", "quantizer"});
                  return both;
                }())
                    .graph;
    CHECK(run.contains("clamp"));
    run.set_outputs({output});
    Graph defined = plain;
    defined.set_outputs({output});
    const Tensor x = normal_tensor({9, 9, 7, 3}, 2);
    const bool same = step_of(defined, defined, x) == step_of(copy, run, x);
    CHECK(same);
  }
}

TEST_CASE("fuse: a quantizer stays on its own where the clamp has many readers, or where it is of another kind") {
  for (const Graph& graph : {chain(4, "relu", false, kAct, 2), chain(4, "relu", true, kAct, 3),
                             chain(4, "relu", false, {{"type", "lq"}, {"bits", 2}, {"role", "act"}})}) {
    const FusedGraph fused = fuse(graph);
    REQUIRE(fused.fusions.size() == 1);
    CHECK(fused.fusions[0].rule == "norm_clamp");
    CHECK(fused.graph.node("quantizer").layer == graph.node("quantizer").layer);
  }
}

TEST_CASE("fuse: a quantizer's fused steps have the same bits for every number of threads") {
  const int before = threads();
  std::vector<std::map<std::string, std::string>> results;
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    const Graph graph = quantized({{"type", "resnet20"}, {"width", 6}, {"input", {16, 16, 3}}}, kAct);
    const Graph fused = fuse(graph).graph;
    const Tensor x = normal_tensor({33, 16, 16, 3}, 2);
    step_of(graph, fused, x);
    results.push_back(step_of(graph, fused, x));
  }
  set_threads(before);
  for (const auto& result : results) {
    const bool same = result == results[0];
    CHECK(same);
  }
}

TEST_CASE("fuse: a fused quantizer refuses what is not finite, and names itself") {
  Json act = kAct;
  act["step"] = 0.4;
  const Graph graph = chain(3, "relu", false, act);
  Tensor x = normal_tensor({2, 9, 7, 3}, 1);
  x.mutable_data<float>()[17] = std::numeric_limits<float>::quiet_NaN();
  const auto message = [&](const Graph& run) { return message_of([&] { run.forward(x, {.mode = Mode::train}); }); };
  CHECK(mentions(message(graph), {"'quantizer'", "lsq", "finite"}));
  CHECK(mentions(message(fuse(graph).graph), {"'quantizer'", "lsq", "finite"}));
}

TEST_CASE("lsq: there is a training op for activations once the step is set, and none for weights") {
  const auto op_of = [](Layer& layer) { return dynamic_cast<ElementwiseQuantizer&>(layer).training_op({2, 3}); };
  const auto act = make_layer(kAct);
  CHECK(op_of(*act) == nullptr);
  const Tensor x = Tensor::from({2, 3}, {0, 0.5f, 1, 1.5f, 2, 9});
  act->forward({&x, 1}, {.mode = Mode::train});
  REQUIRE(op_of(*act) != nullptr);
  Tensor y = Tensor::empty_like(x);
  CHECK(op_of(*act)->forward(x.data<float>().data(), y.mutable_data<float>().data(), 6));
  CHECK(std::memcmp(y.raw(), act->forward({&x, 1}, {}).raw(), y.bytes()) == 0);
  CHECK(op_of(*make_layer({{"type", "lsq"}, {"role", "weight"}, {"step", 0.1}})) == nullptr);
}
