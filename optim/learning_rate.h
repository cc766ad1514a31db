#pragma once

#include <memory>

#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace nibble {

/// The learning rate of every step: base rate times schedule, times the warm-up's ramp while that lasts. The schedule's
/// clock runs during the warm-up, so milestones stay where they are.
///   ramp = from + (1 - from) * step / warm-up steps
class LearningRate {
 public:
  /// Throws UsageError if the schedule is no schedule, Error if the warm-up has both steps and epochs.
  explicit LearningRate(const OptimOptions& options);
  /// The rate of the step that comes after clock.step finished ones.
  double at(const Clock& clock) const;
  const Schedule& schedule() const { return *schedule_; }

 private:
  double base_;
  Warmup warmup_;
  std::shared_ptr<const Schedule> schedule_;
};

}  // namespace nibble
