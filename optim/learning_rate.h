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
  Phase phase(const Clock& clock) const { return schedule_->phase(clock); }
  /// at(clock) over the sum of the rates of all steps of this phase; 0 if they are all 0. Adds them up once per phase.
  double share(const Clock& clock);
  const Schedule& schedule() const { return *schedule_; }

 private:
  double base_;
  Warmup warmup_;
  std::shared_ptr<const Schedule> schedule_;
  int64_t summed_from_ = -1, summed_to_ = -1;  ///< the steps that sum_ covers
  double sum_ = 0;
};

}  // namespace nibble
