#include "quant/fold_batch_norm.h"

#include "layers/weight_slot.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

TEST_CASE("fold_batch_norm: a residual network computes the same and has no batch norm left") {
  for (const char* shortcut : {"A", "B"}) {
    const Graph real = trained_model(
        {{"type", "resnet_cifar"}, {"depth", 8}, {"width", 4}, {"shortcut", shortcut}, {"input", {8, 8, 3}}});
    const Graph folded = fold_batch_norm(real);
    for (const Node& node : folded.nodes()) CHECK(node.layer->type() != "batch_norm");
    CHECK(folded.node("conv1").layer->type() == "conv2d_bn");
    CHECK(folded.node("layer1.0.add").inputs[0] == "layer1.0.conv2");
    const Tensor x = random_tensor({3, 8, 8, 3}, 1);
    CHECK(compare(folded.forward(x, {}), doubles_of(real.forward(x, {})), 1e-5) == "");
    CHECK(real.contains("bn1"));  // the original is untouched
    CHECK(parameters_of(folded).size() == parameters_of(real).size());
  }
}

TEST_CASE("fold_batch_norm: the bias of a convolution goes into the running mean") {
  Graph real(Shape{5, 5, 2});
  real.add("conv", {{"type", "conv2d"}, {"in", 2}, {"out", 3}, {"bias", true}}, {"input"});
  real.add("bn", {{"type", "batch_norm"}, {"channels", 3}, {"offset", false}, {"epsilon", 1e-3}}, {"conv"});
  real.initialize(2);
  uint64_t seed = 5;
  for (const NamedTensor& entry : state_of(real))
    if (entry.tensor.rank() == 1) entry.tensor.copy_from(random_tensor(entry.tensor.shape(), seed++, 0.5f, 2));
  const Graph folded = fold_batch_norm(real);
  const Tensor x = random_tensor({2, 5, 5, 2}, 1);
  CHECK(compare(folded.forward(x, {}), doubles_of(real.forward(x, {})), 1e-5) == "");
  CHECK(compare(folded.forward(x, {Mode::train}), doubles_of(real.forward(x, {Mode::train})), 1e-5) == "");
  CHECK(compare(folded.forward(x, {}), doubles_of(real.forward(x, {})), 1e-5) == "");
}

TEST_CASE("fold_batch_norm: what something else reads, or is an output, stays; so does what is not wanted") {
  Graph real(Shape{4, 4, 2});
  const Json conv{{"type", "conv2d"}, {"in", 2}, {"out", 2}, {"pad", 1}}, bn{{"type", "batch_norm"}, {"channels", 2}};
  real.add("a", conv, {"input"});
  real.add("a.bn", bn, {"a"});
  real.add("b", conv, {"a.bn"});
  real.add("b.bn", bn, {"b"});
  real.add("sum", {{"type", "add"}}, {"b", "b.bn"});
  real.add("c", conv, {"sum"});
  real.add("c.bn", bn, {"c"});
  real.initialize(1);
  Graph folded = fold_batch_norm(real);
  CHECK(folded.nodes().size() == 5);
  CHECK(folded.contains("b.bn"));
  CHECK(folded.outputs() == std::vector<std::string>{"c"});
  CHECK(fold_batch_norm(real, {}, [](const Node& node) { return node.name == "a"; }).nodes().size() == 6);
  real.set_outputs({"c.bn", "c"});
  folded = fold_batch_norm(real, {"plain", 7});
  CHECK(folded.outputs() == std::vector<std::string>{"c.bn", "c"});
  CHECK(folded.node("a").layer->config()["mode"] == "plain");
  CHECK(folded.node("a").layer->config()["freeze"] == 7);
  real.node("a").layer->weight_slot()->set(make_layer({{"type", "affine"}, {"role", "weight"}}));
  CHECK(mentions(message_of([&] { fold_batch_norm(real); }), {"'a'", "fold before"}));
}
