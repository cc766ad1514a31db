#include "tests/quant/lowering/support.h"
#include "tests/quant/small_networks.h"

using namespace nibble;
using namespace nibble::test;

TEST_CASE("lower: every network of the zoo computes on integers from the image to its outputs, and keeps its codes") {
  const Json affine{{"type", "affine"}};
  const Json rules = Json::array({{{"match", "*"},
                                   {"place", "outputs"},
                                   {"weight", affine},
                                   {"act", affine},
                                   {"fold_batch_norm", Json::object()}}});
  for (const Json& model : small_networks()) {
    CAPTURE(model.dump());
    const Graph eval = quantized_network(model, rules);
    const Lowered lowered = lower(eval);
    CHECK(float_nodes(lowered) == "");
    CHECK(count_of(lowered.graph, "encode") == 1);
    CHECK(count_of(lowered.graph, "decode") == 1);
    CHECK(lowered.graph.outputs().size() == 1);
    CHECK(broken_edges(eval, lowered, images(eval, 2, 9)) == "");
  }
}

TEST_CASE("lower: what only the auxiliary classifier needs is dropped, and the report says so") {
  Json model{{"type", "inception_v3"}, {"multiplier", 0.05}, {"classes", 5}, {"input", {107, 107, 3}}};
  const Json lsq = with_bits("lsq", 4);
  const Json rules = Json::array({{{"match", "Conv2d_1a*"}}, {{"match", "*"}, {"weight", lsq}, {"act", lsq}}});
  model["aux"] = true;
  const Graph trained = quantized_network(model, rules);
  const Lowered lowered = lower(trained);
  CHECK(lowered.graph.outputs().size() == 1);
  int dropped = 0;
  for (const Decision& d : lowered.report) {
    const bool auxiliary = d.node.starts_with("AuxLogits");
    CHECK((d.became == "dropped") == auxiliary);
    if (!auxiliary) continue;
    ++dropped;
    CHECK(mentions(d.refusals.at(0), {"'" + trained.outputs()[0] + "'", "does not need it"}));
    CHECK(!lowered.graph.contains(d.node));
  }
  CHECK(dropped ==
        std::ranges::count_if(trained.nodes(), [](const Node& n) { return n.name.starts_with("AuxLogits"); }));
  CHECK(dropped > 5);
  CHECK(broken_edges(trained, lowered, images(trained, 2, 9)) == "");

  // Nothing else of the network changes: it is the one without the classifier.
  model["aux"] = false;
  const Graph alone = quantize(build_model(Config(model)), Config(rules));
  const std::map<std::string, Tensor> state = [&] {
    std::map<std::string, Tensor> found;
    for (const NamedTensor& named : state_of(trained)) found[named.name] = named.tensor;
    return found;
  }();
  for (const NamedTensor& named : state_of(alone)) {
    Tensor to = named.tensor;
    to.copy_from(state.at(named.name));
  }
  const Tensor x = images(trained, 2, 10);
  CHECK(same_bits(lower(alone).graph.forward(x, {}), lowered.graph.forward(x, {})));
}
