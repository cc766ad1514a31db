#pragma once

#include <algorithm>
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

  /// Finished epochs, with the part of the running one.
  double epochs() const { return static_cast<double>(step) / static_cast<double>(steps_per_epoch); }
  /// The finished fraction, at most 1, of the first `span` epochs, or of the run if span is 0.
  double progress(double span = 0) const {
    const double done = span > 0 ? epochs() / span : static_cast<double>(step) / static_cast<double>(total_steps);
    return std::min(done, 1.0);
  }
};

/// A part of the run.
struct Phase {
  int index = 0, count = 1;
  int64_t begin = 0, end = 1;  ///< steps [begin, end)
};

/// Learning-rate schedule: a factor for the base learning rate, a pure function of the clock. Registered under the
/// "type" of "optim"/"schedule": constant, step, multi_step, polynomial, exponential, cosine, phases. Milestones "at
/// epoch e" take effect when e epochs are finished.
class Schedule {
 public:
  virtual ~Schedule() = default;
  /// The registered name.
  virtual std::string_view type() const = 0;
  virtual double factor(const Clock& clock) const = 0;
  /// The phase the next step lies in; schedules that do not restart have one. At the first step of a phase the trainer
  /// clears the optimizer's state.
  virtual Phase phase(const Clock& clock) const { return {0, 1, 0, clock.total_steps}; }
  /// The options that rebuild this, defaults included (without "type").
  virtual Json config() const = 0;
};

#define NIBBLE_REGISTER_SCHEDULE(Derived, name, doc) NIBBLE_REGISTER(::nibble::Schedule, Derived, name, doc)

}  // namespace nibble
