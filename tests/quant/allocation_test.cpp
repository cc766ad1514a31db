#include "apps/train_step.h"
#include "core/allocator.h"
#include "layers/weight_slot.h"
#include "tests/layers/support.h"
#include "tests/quant/heap_count.h"
#include "tests/quant/quantizer_subjects.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// A small network with one quantizer, on a weight of 32 x 48 x 3 x 3 or on activations of 4 x 12 x 12 x 48.
struct Trained {
  Graph graph;
  std::shared_ptr<Quantizer> quantizer;
  std::unique_ptr<TrainStep> step;
  Batch batch;
  Rng rng{3};
  int64_t done = 0;

  void run() {
    const TrainClock clock{
        .step = done, .total_steps = 1000, .phase = 0, .phases = quantizer->phases(), .lr = 0.01, .lr_share = 0.001};
    step->run(batch, clock, rng);
    ++done;
  }
};

Trained build(const Subject& subject) {
  Trained t;
  const Shape weight{32, 48, 3, 3}, image{4, 12, 12, 48};
  t.quantizer = subject.make(subject.weight ? weight : image);
  t.graph = Graph({image[1], image[2], image[3]});
  std::string last = t.graph.add("relu", Json{{"type", "relu"}}, {"input"});
  if (!subject.weight) last = t.graph.add("act", t.quantizer, {last});
  last = t.graph.add("conv", Json{{"type", "conv2d"}, {"in", 48}, {"out", 32}, {"kernel", 3}}, {last});
  if (subject.weight) t.graph.node("conv").layer->weight_slot()->set(t.quantizer);
  last = t.graph.add("pool", Json{{"type", "global_avg_pool"}}, {last});
  t.graph.add("linear", Json{{"type", "linear"}, {"in", 32}, {"out", 5}}, {last});
  t.graph.initialize(1);
  const std::shared_ptr<Optimizer> sgd =
      Registry<Optimizer>::get().make(Config(Json{{"type", "sgd"}, {"lr", 0.01}, {"momentum", 0.9}}));
  std::vector<Param> params;
  for (const NamedTensor& named : parameters_of(t.graph))
    params.push_back({named.name, named.tensor, named.traits.decay, named.traits.lr_factor, named.traits.mask});
  sgd->attach(std::move(params));
  t.step = std::make_unique<TrainStep>(t.graph, sgd, LossOptions{});
  const std::vector<int32_t> labels{0, 1, 2, 3};
  t.batch = {normal_tensor(image, 5), Tensor::from<int32_t>({4}, labels)};
  return t;
}

}  // namespace

TEST_CASE("quantizers: a training step takes no memory from the system after the first") {
  for (const NamedSubject& named : registered_quantizers()) {
    CAPTURE(named.name);
    release_unused_memory();
    Trained trained = build(named.subject);
    trained.run();
    const int64_t blocks = allocator_stats().system_allocations, large = large_heap_requests();
    for (int step = 0; step < 3; ++step) trained.run();
    CHECK(allocator_stats().system_allocations == blocks);
    CHECK(large_heap_requests() == large);
  }
}

TEST_CASE("quantizers: the test of their memory sees a block and a vector that are new") {
  const int64_t blocks = allocator_stats().system_allocations, large = large_heap_requests();
  release_unused_memory();
  const Tensor tensor = Tensor::zeros({1000, 1000});
  const std::vector<float> values(kLargeRequest);
  CHECK(tensor.numel() > 0);
  CHECK(values.size() > 0);
  CHECK(allocator_stats().system_allocations > blocks);
  CHECK(large_heap_requests() > large);
}
