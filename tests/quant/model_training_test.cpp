#include "core/tape.h"
#include "layers/checkpoint.h"
#include "optim/adam.h"
#include "quant/policy.h"
#include "tests/apps/scratch.h"
#include "tests/layers/support.h"
#include "tests/quant/small_networks.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Graph quantized(const SmallNetwork& subject) {
  Json model = subject.model;
  model["classes"] = 3;
  const Graph real = build_model(Config(model));
  real.initialize(1);
  return quantize(real, Config(subject.quant));
}

void take_step(const Graph& graph, Optimizer& optimizer, int64_t number) {
  constexpr int kImages = 6;
  const Shape& sample = graph.input_shape();
  const Tensor x = normal_tensor({kImages, sample[0], sample[1], sample[2]}, 10 + static_cast<uint64_t>(number));
  const std::vector<int32_t> classes{0, 1, 2, 0, 1, 2};
  const Tensor labels = Tensor::from<int32_t>({kImages}, std::span<const int32_t>(classes));
  zero_grads(optimizer.params());
  Rng rng(7);
  TrainClock clock;
  clock.step = number;
  Tensor loss;
  for (const Tensor& logits : graph.forward_all(x, {Mode::train, &rng, number, &clock})) {
    const Tensor own = softmax_cross_entropy(logits, labels);
    loss = loss.defined() ? add(loss, scale(own, 0.4f)) : own;
  }
  backward(loss);
  optimizer.step(1e-3);
  for (const Node& node : graph.nodes()) node.layer->after_update();
}

/// The names of the parameters that are as they were.
std::string unmoved(const Graph& graph, const std::vector<Tensor>& before) {
  const std::vector<NamedTensor> after = parameters_of(graph);
  std::string names;
  for (size_t i = 0; i < after.size(); ++i)
    if (same_bits(after[i].tensor, before[i])) names += after[i].name + " ";
  return names;
}

}  // namespace

TEST_CASE("models: every network takes quantizers, two steps move all its parameters, and a checkpoint keeps them") {
  const Scratch folder("model-training");
  for (const SmallNetwork& subject : small_networks()) {
    CAPTURE(subject.model.dump());
    const Graph graph = quantized(subject);
    // Its steps have a size of their own, so that neither tiny nor huge gradients spoil the test.
    Adam optimizer(Adam::Options{});
    std::vector<Param> params;
    for (const NamedTensor& entry : parameters_of(graph))
      params.push_back({entry.name, entry.tensor, entry.traits.decay, entry.traits.lr_factor, entry.traits.mask});
    optimizer.attach(params);
    take_step(graph, optimizer, 0);
    std::vector<Tensor> before;
    for (const NamedTensor& entry : parameters_of(graph)) before.push_back(entry.tensor.clone());
    take_step(graph, optimizer, 1);
    CHECK(unmoved(graph, before) == "");

    save_checkpoint(folder / "m.safetensors", graph, {{"model", subject.model}});
    const Graph loaded = load_checkpoint(folder / "m.safetensors").graph;
    CHECK(loaded.to_json() == graph.to_json());
    const Shape& sample = graph.input_shape();
    const Tensor x = normal_tensor({1, sample[0], sample[1], sample[2]}, 5);
    CHECK(same_bits(loaded.forward(x, {}), graph.forward(x, {})));
  }
}
