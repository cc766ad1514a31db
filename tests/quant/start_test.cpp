#include "quant/start.h"

#include <map>

#include "core/parallel.h"
#include "tests/quant/finished.h"

using namespace nibble;
using namespace nibble::test;

namespace {

std::vector<Tensor> batches(int count) {
  std::vector<Tensor> list;
  for (int i = 0; i < count; ++i) list.push_back(images(10, static_cast<uint64_t>(50 + i)));
  return list;
}

std::map<std::string, Tensor> saved(const Graph& graph) {
  std::map<std::string, Tensor> copy;
  for (const NamedTensor& entry : state_of(graph)) copy[entry.name] = entry.tensor.clone();
  return copy;
}

const StartLine& line(const std::vector<StartLine>& lines, const std::string& node, const std::string& role) {
  for (const StartLine& entry : lines)
    if (entry.node == node && entry.role == role) return entry;
  throw Error("there is no line " + node);
}

}  // namespace

TEST_CASE("start: weights, batch norms and their statistics stay as they are, whatever the method") {
  for (const Json& method : weight_methods()) {
    CAPTURE(method.dump());
    const Graph graph = quantized_net({{"weight", method}, {"act", {{"type", "lq"}, {"bits", 2}}}});
    const auto before = saved(graph);
    start_quantizers(graph, batches(2));
    for (const auto& entry : saved(graph)) {
      const std::string& name = entry.first;
      CAPTURE(name);
      const bool of_quantizer =
          name.find("weight_quantizer.") != std::string::npos || name.find(".act.") != std::string::npos;
      if (!of_quantizer) CHECK(same_bits(before.at(name), entry.second));
    }
  }
}

TEST_CASE("start: the state is that of training's first pass over the same values") {
  const Json lsq{{"type", "lsq"}, {"bits", 4}};
  const Graph graph = quantized_net({{"weight", lsq}, {"act", lsq}});
  const Tensor x = images(10);
  const auto lines = start_quantizers(graph, {&x, 1});
  // 2 mean|x| / sqrt(Q_P), by the paper's section 2.1.
  const auto expected = [](const Tensor& t, double top) {
    double sum = 0;
    for (const float v : t.data<float>()) sum += std::abs(static_cast<double>(v));
    return 2 * sum / static_cast<double>(t.numel()) / std::sqrt(top);
  };
  CHECK(state(graph, "conv.weight_quantizer.step").item() == doctest::Approx(expected(state(graph, "conv.weight"), 7)));
  Tensor seen;
  graph.forward(x, {}, [&](const Node& node, const Tensor& y) {
    if (node.name == "flat") seen = y.clone();
  });
  CHECK(state(graph, "fc.act.step").item() == doctest::Approx(expected(seen, 15)));
  REQUIRE(lines.size() == 4);
  CHECK(line(lines, "conv", "weight").how == "as training starts, from the weight");
  CHECK(line(lines, "fc.act", "activation").how == "as training starts, from 10 images");
  CHECK(line(lines, "fc.act", "activation").smallest_step ==
        doctest::Approx(state(graph, "fc.act.step").item()).epsilon(1e-4));
  CHECK(line(lines, "fc.act", "activation").lowest == 0);
  CHECK(line(lines, "conv", "weight").bits == 4);
}

TEST_CASE("start: affine ranges are those of all batches, of values that no affine quantizer has touched") {
  const Json affine{{"type", "affine"}};
  const Graph graph = quantized_net({{"weight", affine}, {"act", affine}});
  const auto all = batches(3);
  const auto lines = start_quantizers(graph, all);
  float lowest = 0, highest = 0, flat = 0;
  for (const Tensor& batch : all) {
    for (const float v : batch.data<float>()) {
      lowest = std::min(lowest, v);
      highest = std::max(highest, v);
    }
    const Graph folded = quantized_net({{"weight", affine}});
    folded.forward(batch, {}, [&](const Node& node, const Tensor& y) {
      if (node.name == "flat")
        for (const float v : y.data<float>()) flat = std::max(flat, v);
    });
  }
  const auto range = state(graph, "conv.act.range").data<float>();
  CHECK(range[0] == lowest);
  CHECK(range[1] == highest);
  CHECK(state(graph, "fc.act.range").data<float>()[1] == flat);
  CHECK(line(lines, "conv.act", "activation").how == "min_max of 30 images");
  CHECK(line(lines, "conv", "weight").how == "min_max of the weight");
}

TEST_CASE("start: methods can be mixed, and the same inputs give the same bits on one and two threads") {
  const auto run = [](int count) {
    set_threads(count);
    const Graph graph =
        quantize(plain_net(),
                 Config(Json::array(
                     {{{"match", "conv"}, {"weight", {{"type", "lq"}, {"bits", 2}}}, {"act", {{"type", "affine"}}}},
                      {{"match", "fc"}, {"weight", {{"type", "affine"}}}, {"act", {{"type", "qil"}, {"bits", 4}}}}})));
    start_quantizers(graph, batches(2), {"mse"});
    return saved(graph);
  };
  const int before = threads();
  const auto one = run(1), two = run(2);
  set_threads(before);
  for (const auto& entry : one) {
    CAPTURE(entry.first);
    CHECK(same_bits(entry.second, two.at(entry.first)));
  }
}

TEST_CASE("start: no batches are refused, and a graph without quantizers has no lines") {
  const Graph graph = quantized_net({{"weight", {{"type", "twn"}}}});
  CHECK(mentions(message_of([&] { start_quantizers(graph, {}); }), {"at least one batch"}));
  CHECK(start_quantizers(plain_net(), batches(1)).empty());
}
