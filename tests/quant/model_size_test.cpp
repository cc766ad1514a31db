#include "layers/describe.h"
#include "layers/packed.h"
#include "quant/fixed_grid.h"
#include "tests/quant/finished.h"

using namespace nibble;
using namespace nibble::test;

namespace {

NodeInfo row(const Graph& graph, const std::string& name) {
  for (const NodeInfo& info : describe(graph))
    if (info.name == name) return info;
  throw Error("there is no row " + name);
}

}  // namespace

TEST_CASE("describe: size is weights at their bits, their levels, bias and all else at 32") {
  const Graph graph = quantized_net(
      {{"weight", {{"type", "lsq"}, {"bits", 3}, {"per_channel", true}}}, {"act", {{"type", "lsq"}, {"bits", 2}}}});
  CHECK(row(graph, "conv").weights == 72);
  CHECK(row(graph, "conv").size_bits == 72 * 3 + 4 * 32);
  CHECK(row(graph, "conv").float_bits == 72 * 32);
  CHECK(row(graph, "conv").per_channel);
  CHECK(row(graph, "fc").size_bits == 108 * 3 + 3 * 32 + 3 * 32);
  CHECK(row(graph, "fc").float_bits == 108 * 32 + 3 * 32);
  CHECK(row(graph, "bn").size_bits == 4 * 4 * 32);
  CHECK(row(graph, "bn").float_bits == 4 * 4 * 32);
  CHECK(row(graph, "conv.act").size_bits == 32);
  CHECK(row(graph, "conv.act").float_bits == 0);
  CHECK(row(graph, "relu").size_bits == 0);
  const Graph real = plain_net();
  CHECK(row(real, "conv").size_bits == row(real, "conv").float_bits);
  CHECK(row(real, "conv").weight_quantizer.is_null());
}

TEST_CASE("describe: ternary codes take two bits, binary ones one") {
  CHECK(row(quantized_net({{"weight", {{"type", "twn"}}}}), "conv").weight_bits == 2);
  CHECK(row(quantized_net({{"weight", {{"type", "bwn"}}}}), "conv").weight_bits == 1);
  CHECK(row(quantized_net({{"weight", {{"type", "inq"}}}}), "conv").weight_bits == 5);
}

TEST_CASE("describe: layers that pick or reorder elements keep the bits, and each layer shows its quantizers") {
  const Json act{{"type", "lsq"}, {"bits", 2}};
  Graph graph(Shape{6, 6, 2});
  graph.add("act", act, {"input"});
  graph.add("pool", {{"type", "max_pool"}}, {"act"});
  graph.add("drop", {{"type", "dropout"}}, {"pool"});
  graph.add("flat", {{"type", "flatten"}}, {"drop"});
  graph.add("fc", {{"type", "linear"}, {"in", 18}, {"out", 3}, {"weight_quant", {{"type", "twn"}}}}, {"flat"});
  graph.initialize(1);
  for (const char* name : {"act", "pool", "drop", "flat"}) CHECK(row(graph, name).activation_bits == 2);
  CHECK(row(graph, "fc").activation_bits == 32);
  CHECK(row(graph, "fc").weight_quantizer["type"] == "twn");
  CHECK(row(graph, "fc").input_quantizer["type"] == "lsq");
  CHECK(row(graph, "fc").input_quantizer["bits"] == 2);
  CHECK(row(graph, "act").input_quantizer.is_null());
  CHECK(row(quantized_net({{"weight", {{"type", "twn"}}}}), "flat").activation_bits == 32);
}

TEST_CASE("describe: the numbers of a grid are as many as its packed table has") {
  for (const Json& method : weight_methods()) {
    CAPTURE(method.dump());
    const Graph graph = quantized_net({{"weight", method}});
    const std::optional<GemmForm> gemm = graph.node("conv").layer->facts().gemm;
    FixedGrid fixed(gemm->weight_grid, Config(nullptr));
    Graph holder;
    holder.add("grid", std::make_shared<FixedGrid>(fixed), {"input"});
    CHECK(state(holder, "grid.table").numel() == grid_numbers(gemm->weight_grid));
  }
}
