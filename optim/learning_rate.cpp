#include "optim/learning_rate.h"

#include <cmath>

namespace nibble {
namespace {

std::shared_ptr<const Schedule> make_schedule(const Config& config) {
  const bool none = config.json.is_null() || (config.json.is_object() && config.json.empty());
  return Registry<Schedule>::get().make(none ? Config(Json{{"type", "constant"}}) : config);
}

}  // namespace

LearningRate::LearningRate(const OptimOptions& options)
    : base_(options.lr), warmup_(options.warmup), schedule_(make_schedule(options.schedule)) {
  NIBBLE_CHECK(warmup_.epochs == 0 || warmup_.steps == 0, "warmup: give steps or epochs, got both (", warmup_.steps,
               " steps, ", warmup_.epochs, " epochs)");
}

double LearningRate::at(const Clock& clock) const {
  NIBBLE_CHECK(clock.step >= 0 && clock.steps_per_epoch > 0 && clock.total_steps > 0,
               "learning rate: needs step >= 0, steps_per_epoch > 0 and total_steps > 0, got ", clock.step, ", ",
               clock.steps_per_epoch, ", ", clock.total_steps);
  const double scheduled = base_ * schedule_->factor(clock);
  const double span = warmup_.steps > 0 ? static_cast<double>(warmup_.steps)
                                        : std::round(warmup_.epochs * static_cast<double>(clock.steps_per_epoch));
  const auto step = static_cast<double>(clock.step);
  if (step >= span) return scheduled;
  return scheduled * (warmup_.from + (1 - warmup_.from) * step / span);
}

double LearningRate::share(const Clock& clock) {
  const Phase part = phase(clock);
  if (part.begin != summed_from_ || part.end != summed_to_) {
    sum_ = 0;
    Clock at_step = clock;
    for (at_step.step = part.begin; at_step.step < part.end; ++at_step.step) sum_ += at(at_step);
    summed_from_ = part.begin;
    summed_to_ = part.end;
  }
  return sum_ > 0 ? at(clock) / sum_ : 0;
}

}  // namespace nibble
