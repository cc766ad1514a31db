#include "apps/class_loss.h"

#include "apps/run_parts.h"
#include "apps/train_step.h"
#include "core/ops.h"
#include "core/ops/squared_hinge.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

RunConfig linear_run(const Json& loss) {
  Config config = parse_config(R"({
    "name": "linear",
    "model": {"type": "graph", "nodes": [
      {"name": "pool", "type": "global_avg_pool"}, {"name": "fc", "type": "linear", "in": 3, "out": 10}]},
    "data": {"type": "embedded"}, "optim": {"type": "sgd", "lr": 0.1}})",
                               "linear.json");
  config.json["loss"] = loss;
  return read_run_config(config);
}

}  // namespace

TEST_CASE("class loss: a config chooses the function, and training minimises it") {
  const int32_t classes[] = {4, 0, 9};
  Batch batch{normal_tensor({3, 32, 32, 3}, 2), Tensor::from<int32_t>({3}, classes)};
  for (const std::string function : {"cross_entropy", "squared_hinge"}) {
    CAPTURE(function);
    const RunConfig run = linear_run({{"function", function}});
    const RunParts parts = build_parts(run);
    attach_optimizer(parts, run);
    const Tensor scores = parts.graph.forward(batch.images, {});
    const Tensor expected =
        function == "cross_entropy" ? softmax_cross_entropy(scores, batch.labels) : squared_hinge(scores, batch.labels);
    TrainStep step(parts.graph, parts.optimizer, run.loss);
    Rng rng(1);
    TrainClock clock;
    clock.lr = 0.1;
    const double loss = step.run(batch, clock, rng).loss;
    CHECK(loss == doctest::Approx(expected.item()).epsilon(1e-6));
    CHECK(step.run(batch, clock, rng).loss < loss);
  }
}

TEST_CASE("class loss: label smoothing belongs to the cross entropy") {
  const std::string wrong = message_of([] {
    build_parts(linear_run({{"function", "squared_hinge"}, {"label_smoothing", 0.1}}));
  });
  CHECK(mentions(wrong, {"/loss/label_smoothing", "0.1", "squared_hinge"}));
  CHECK_THROWS_AS(linear_run({{"function", "hinge"}}), UsageError);
}
