#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apps/progress.h"
#include "apps/run_config.h"
#include "apps/run_parts.h"
#include "apps/step_profile.h"
#include "apps/train_step.h"

namespace nibble {

/// The training steps of a config, to be measured: no checkpoints, no log, and a learning rate so small that noise does
/// not make the loss diverge. The work is the same.
class MeasuredTraining {
 public:
  /// Sets the threads that the config asks for if `keep_threads` does not say that others are wanted.
  explicit MeasuredTraining(const RunConfig& config, bool keep_threads = false);

  void step(const Batch& batch);
  const RunParts& parts() const { return parts_; }
  /// `count` batches of `size` images of normal noise with random labels.
  std::vector<Batch> noise(int64_t size, int count) const;

 private:
  RunParts parts_;
  std::unique_ptr<TrainStep> step_;
  Rng rng_{1};
  int64_t done_ = 0, total_steps_;
};

/// The first steps of a training, which allocate what later ones find again.
inline constexpr int64_t kWarmUpSteps = 3;

/// What some steps took, the warm-up left out.
struct StepTimes {
  std::vector<double> seconds;     ///< of each step
  int64_t system_allocations = 0;  ///< blocks that tensors took from the system
};

/// Times `count` steps on batches of `next`, which is part of the time, after `warm_up` others. Adds what a recorder
/// has seen of each to `steps` if there is one; without, nothing is recorded. `label` is for the progress.
StepTimes time_steps(MeasuredTraining& training, const std::function<Batch()>& next, int64_t count, int64_t warm_up,
                     const std::string& label, Progress& progress, StepProfile* steps = nullptr);

}  // namespace nibble
