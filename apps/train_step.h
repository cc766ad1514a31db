#pragma once

#include <functional>
#include <optional>
#include <string>

#include "apps/class_loss.h"
#include "apps/teacher.h"
#include "data/loader.h"
#include "layers/graph.h"
#include "optim/optimizer.h"

namespace nibble {

struct StepResult {
  double loss = 0;
  int64_t correct = 0;
};

/// Thrown when a loss, gradient or parameter is not finite; the message names the layer.
class NotFinite : public Error {
 public:
  using Error::Error;
};

/// The training step: forward, loss, backward, update.
class TrainStep {
 public:
  /// `optimizer` has been attached to the graph's parameters. `teacher` may be null; it teaches the first output.
  /// With `fused` it runs a graph that fuse() made of `graph`, which changes no bit of the result.
  TrainStep(Graph graph, std::shared_ptr<Optimizer> optimizer, const LossOptions& options,
            std::shared_ptr<const Teacher> teacher = nullptr, bool fused = true);

  /// Leaves the parameters as they were and throws NotFinite if the loss or a gradient is not finite.
  StepResult run(const Batch& batch, const TrainClock& clock, Rng& rng);

 private:
  /// The teacher's logits, or undefined without one.
  Tensor ask_teacher(const Tensor& images) const;
  /// What is minimised, from the network's outputs and the teacher's logits.
  Tensor loss_of(const std::vector<Tensor>& outputs, const Tensor& wanted, const Tensor& labels) const;
  /// Throws NotFinite naming a parameter whose gradient is not finite.
  void check_gradients() const;
  void update(double lr) const;
  /// `loss` plus the weighed loss of every output but the first.
  Tensor add_auxiliary(Tensor loss, const std::vector<Tensor>& outputs, const Tensor& labels) const;
  std::string first_bad_output(const Batch& batch, const TrainClock& clock, Rng rng) const;

  Graph graph_, running_;  ///< as defined, and as run
  std::shared_ptr<Optimizer> optimizer_;
  ClassLoss class_loss_;
  float auxiliary_;
  std::shared_ptr<const Teacher> teacher_;
};

bool all_finite(const Tensor& tensor);
/// Throws NotFinite naming the first parameter or buffer that holds a number that is not finite.
void check_state_finite(const Graph& graph);

}  // namespace nibble
