#pragma once

#include <cstdint>
#include <memory>

#include "core/config.h"
#include "core/registry.h"

namespace nibble {

/// Where training stands.
struct Clock {
  int64_t step = 0;  ///< optimizer steps done
  int64_t steps_per_epoch = 1;
  int64_t total_steps = 1;
};

/// Learning-rate schedule: a factor for the base learning rate, a pure function of the clock. Registered under the
/// "type" of "optim"/"schedule": constant, step, multi_step, polynomial, exponential, cosine. Milestones "at epoch e"
/// take effect when e epochs are finished.
class Schedule {
 public:
  virtual ~Schedule() = default;
  virtual double factor(const Clock& clock) const = 0;
  virtual Json config() const = 0;
};

}  // namespace nibble
