#include "apps/run_parts.h"
#include "apps/train_step.h"
#include "layers/model.h"
#include "tests/support/random.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

/// A network with a second classifier on the same features, or with the features themselves as second output.
RunConfig two_outputs(double weight, const std::string& second = "aux") {
  Config config = parse_config(R"({
    "name": "two",
    "model": {"type": "graph", "nodes": [
      {"name": "pool", "type": "global_avg_pool"},
      {"name": "aux", "type": "linear", "in": 3, "out": 10},
      {"name": "fc", "type": "linear", "in": 3, "out": 10, "inputs": "pool"}]},
    "data": {"type": "embedded", "train": 96, "test": 20, "batch": 16, "eval_batch": 10},
    "optim": {"type": "sgd", "lr": 0.5},
    "loss": {"label_smoothing": 0.1},
    "train": {"epochs": 2}})",
                               "two.json");
  config.json["model"]["outputs"] = {"fc", second};
  config.json["loss"]["auxiliary"] = weight;
  return read_run_config(config);
}

Batch some_batch() {
  Batch batch;
  batch.images = test::normal_tensor({6, 32, 32, 3}, 4);
  batch.labels = Tensor::empty({6}, DType::i32);
  for (int i = 0; i < 6; ++i) batch.labels.mutable_data<int32_t>()[static_cast<size_t>(i)] = 3 * i % 10;
  return batch;
}

/// One step with a learning rate of 1, and by how much it moves each bias, the negative of the loss's gradient.
struct Step {
  double loss = 0;
  std::vector<double> aux, fc;
};

Step one_step(const RunConfig& run) {
  const RunParts parts = build_parts(run);
  attach_optimizer(parts, run);
  std::vector<Tensor> before;
  for (const NamedTensor& entry : parameters_of(parts.graph)) before.push_back(entry.tensor.clone());
  TrainStep train(parts.graph, parts.optimizer, run.loss);
  TrainClock clock;
  clock.lr = 1;
  Rng rng(1);
  Step step;
  step.loss = train.run(some_batch(), clock, rng).loss;
  const std::vector<NamedTensor> after = parameters_of(parts.graph);
  for (size_t i = 0; i < after.size(); ++i)
    for (int64_t k = 0; after[i].tensor.rank() == 1 && k < after[i].tensor.numel(); ++k) {
      const auto at = static_cast<size_t>(k);
      const double moved = after[i].tensor.data<float>()[at] - before[i].data<float>()[at];
      (after[i].name == "aux.bias" ? step.aux : step.fc).push_back(moved);
    }
  return step;
}

}  // namespace

TEST_CASE("auxiliary loss: every further output adds its weighed cross entropy to the loss and to the gradients") {
  const RunConfig run = two_outputs(0.25);
  const Batch batch = some_batch();
  const std::vector<Tensor> logits = build_parts(run).graph.forward_all(batch.images, {});
  const double own = softmax_cross_entropy(logits[0], batch.labels, 0.1f).item();
  const double other = softmax_cross_entropy(logits[1], batch.labels, 0.1f).item();
  const Step with = one_step(run), without = one_step(two_outputs(0)), whole = one_step(two_outputs(1));
  CHECK(with.loss == doctest::Approx(own + 0.25 * other).epsilon(1e-6));
  CHECK(without.loss == doctest::Approx(own).epsilon(1e-6));
  REQUIRE(with.aux.size() == 10);
  for (size_t k = 0; k < 10; ++k) {
    CHECK(with.fc[k] == without.fc[k]);
    CHECK(without.aux[k] == 0);
    CHECK(with.aux[k] != 0);
    CHECK(with.aux[k] == doctest::Approx(0.25 * whole.aux[k]).epsilon(1e-4));
  }
}

TEST_CASE("auxiliary loss: an output that is no classifier is named, and may be left out") {
  CHECK_THROWS_WITH_AS(one_step(two_outputs(0.4, "pool")), doctest::Contains("output 'pool' has the shape [6,3]"),
                       Error);
  CHECK(one_step(two_outputs(0, "pool")).loss > 0);
}

}  // namespace nibble
