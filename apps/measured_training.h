#pragma once

#include <memory>
#include <vector>

#include "apps/run_config.h"
#include "apps/run_parts.h"
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

}  // namespace nibble
