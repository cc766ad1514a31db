#include <cmath>

#include "layers/conv2d.h"
#include "layers/describe.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// Rounds to integers in [-2, 1] times a parameter; what the tests put into the places that quantizers will have.
class TestStep final : public Quantizer {
 public:
  struct Options {
    float step = 0.25f;
    void fields(Fields& f) { f("step", step, "distance of the levels", kPositive); }
  };
  explicit TestStep(const Options& options) : options_(options), step_(Tensor::of({options.step})) {
    step_.set_requires_grad();
  }
  std::string_view type() const override { return "test_step"; }
  Tensor forward(Inputs in, const Pass&) override {
    const Tensor& x = in[0];
    Tensor y = Tensor::zeros_like(x);
    for (size_t i = 0; i < x.data<float>().size(); ++i)
      y.mutable_data<float>()[i] = step() * std::clamp(std::nearbyint(x.data<float>()[i] / step()), -2.f, 1.f);
    return record("test_step", y, {x}, [](const Tensor& dy) -> Grads { return {dy}; });
  }
  void visit(StateVisitor& visitor) override { visitor.param("step", step_, {.decay = false}); }
  Json config() const override { return write_options(options_); }
  Grid grid(const Tensor&) const override { return Uniform{{step()}, {0}, -2, 1}; }

 private:
  float step() const { return step_.data<float>()[0]; }
  Options options_;
  Tensor step_;
};
NIBBLE_REGISTER_LAYER(TestStep, "test_step", "For the tests.");

const Json kConv{{"type", "conv2d"}, {"in", 3}, {"out", 4}, {"weight_quant", {{"type", "test_step"}, {"step", 0.5}}}};

}  // namespace

TEST_CASE("weight slot: the convolution uses the quantized weight, and the facts lie on its grid") {
  const auto conv = make_layer(kConv);
  conv->initialize(Rng(1));
  const Facts facts = conv->facts();
  for (const float v : facts.gemm->weight.data<float>()) CHECK(v / 0.5f == std::nearbyint(v / 0.5f));
  CHECK(std::get<Uniform>(facts.gemm->weight_grid).scale == std::vector<float>{0.5f});
  const Tensor x = random_tensor({1, 5, 5, 3}, 2);
  CHECK(same_bits(conv->forward({&x, 1}, {}), conv2d(x, facts.gemm->weight, Tensor::zeros({4}), {})));
}

TEST_CASE("weight slot: its state is visited under the layer and its options are written back") {
  Graph graph(Shape{5, 5, 3});
  graph.add("conv", kConv, {"input"});
  graph.add("act", {{"type", "test_step"}}, {"conv"});
  std::vector<std::string> names;
  for (const NamedTensor& entry : state_of(graph)) names.push_back(entry.name);
  CHECK(names == std::vector<std::string>{"conv.weight", "conv.bias", "conv.weight_quantizer.step", "act.step"});
  CHECK_FALSE(parameters_of(graph)[2].traits.decay);
  CHECK(graph.node("conv").layer->config()["weight_quant"]["step"] == 0.5);
  const Graph copy = graph.clone();
  CHECK(copy.to_json() == graph.to_json());

  const auto plain = std::make_shared<Conv2d>(Conv2d::Options{.in = 3, .out = 4});
  plain->weight_slot()->set(make_layer({{"type", "test_step"}}));
  CHECK(plain->config()["weight_quant"]["type"] == "test_step");
}

TEST_CASE("describe: quantizers set the bits of weights and activations") {
  Graph graph(Shape{5, 5, 3});
  graph.add("conv", kConv, {"input"});
  graph.add("act", {{"type", "test_step"}}, {"conv"});
  graph.add("relu", {{"type", "relu"}}, {"act"});
  const std::vector<NodeInfo> table = describe(graph);
  CHECK(table[0].weight_bits == 2);
  CHECK(table[0].activation_bits == 32);
  CHECK(table[1].weight_bits == 0);
  CHECK(table[1].activation_bits == 2);
  CHECK(table[2].activation_bits == 32);
}
