#include <cmath>

#include "optim/schedule.h"

namespace nibble {
namespace {

class Exponential final : public Schedule {
 public:
  struct Options {
    double gamma = 0.94, epochs = 0;
    int64_t steps = 0;
    bool staircase = true;
    void fields(Fields& f) {
      f("gamma", gamma, "factor per period", kPositive);
      f("epochs", epochs, "length of a period in epochs; or give steps", kNonNegative);
      f("steps", steps, "length of a period in steps; or give epochs", kNonNegative);
      f("staircase", staircase, "whether the rate changes only at the end of a period");
    }
  };

  explicit Exponential(const Options& options) : options_(options) {
    NIBBLE_CHECK((options_.epochs > 0) != (options_.steps > 0),
                 "exponential: needs the length of a period, either steps or epochs, got ", options_.steps,
                 " steps and ", options_.epochs, " epochs");
  }
  std::string_view type() const override { return "exponential"; }
  double factor(const Clock& clock) const override {
    const double period = options_.steps > 0 ? static_cast<double>(options_.steps)
                                             : options_.epochs * static_cast<double>(clock.steps_per_epoch);
    const double periods = static_cast<double>(clock.step) / period;
    return std::pow(options_.gamma, options_.staircase ? std::floor(periods) : periods);
  }
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
};

NIBBLE_REGISTER_SCHEDULE(Exponential, "exponential",
                         "gamma^(step / period), with the exponent rounded down if staircase.");

}  // namespace
}  // namespace nibble
