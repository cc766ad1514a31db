#include <algorithm>
#include <cmath>

#include "optim/schedule.h"

namespace nibble {
namespace {

/// Runs another schedule anew in every phase: its clock starts at 0 and its run is as long as the phase.
class Phases final : public Schedule {
 public:
  struct Options {
    int count = 8;
    std::vector<double> shares;
    Config schedule;
    void fields(Fields& f) {
      f("count", count, "number of equal phases, unless `shares` are given", {1, 1000});
      f("shares", shares, "relative lengths of the phases: [24, 18, 18] splits the run 24 : 18 : 18", kPositive);
      f.raw("schedule", schedule, "a schedule", "what runs in every phase; none keeps the rate constant");
    }
  };

  explicit Phases(const Options& options) : options_(options) {
    const Json& json = options_.schedule.json;
    const bool none = json.is_null() || (json.is_object() && json.empty());
    inner_ = Registry<Schedule>::get().make(none ? Config(Json{{"type", "constant"}}) : options_.schedule);
    double sum = 0;
    for (int i = 0; i < count(); ++i) ends_.push_back(sum += share(i));
  }
  std::string_view type() const override { return "phases"; }

  double factor(const Clock& clock) const override {
    const Phase part = phase(clock);
    return inner_->factor({clock.step - part.begin, clock.steps_per_epoch, part.end - part.begin});
  }

  Phase phase(const Clock& clock) const override {
    Phase part{0, count(), 0, end_of(0, clock)};
    while (part.index + 1 < count() && clock.step >= part.end) {
      part.begin = part.end;
      part.end = end_of(++part.index, clock);
    }
    return part;
  }

  Json config() const override {
    Options resolved = options_;
    Json schedule{{"type", inner_->type()}};
    schedule.update(inner_->config());
    resolved.schedule = Config(std::move(schedule));
    return write_options(resolved);
  }

 private:
  int count() const { return options_.shares.empty() ? options_.count : static_cast<int>(options_.shares.size()); }
  double share(int i) const { return options_.shares.empty() ? 1 : options_.shares[static_cast<size_t>(i)]; }

  /// Rounded down, so that the last phase begins before the run ends, however short that is.
  int64_t end_of(int index, const Clock& clock) const {
    if (index + 1 == count()) return clock.total_steps;
    const double part = ends_[static_cast<size_t>(index)] / ends_.back();
    constexpr double kRoundingError = 1e-9;
    return static_cast<int64_t>(std::floor(part * static_cast<double>(clock.total_steps) + kRoundingError));
  }

  Options options_;
  std::shared_ptr<const Schedule> inner_;
  std::vector<double> ends_;  ///< sums of the shares
};

NIBBLE_REGISTER_SCHEDULE(Phases, "phases",
                         "Restarts another schedule in each of several phases (incremental quantization).");

}  // namespace
}  // namespace nibble
