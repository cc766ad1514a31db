#include <cmath>

#include "optim/schedule.h"

namespace nibble {
namespace {

class Step final : public Schedule {
 public:
  struct Options {
    int epochs = 30;
    double gamma = 0.1;
    void fields(Fields& f) {
      f("epochs", epochs, "epochs from one drop to the next", {1});
      f("gamma", gamma, "factor of every drop", kPositive);
    }
  };
  explicit Step(const Options& options) : options_(options) {}
  std::string_view type() const override { return "step"; }
  double factor(const Clock& clock) const override {
    const int64_t drops = clock.step / clock.steps_per_epoch / options_.epochs;
    return std::pow(options_.gamma, static_cast<double>(drops));
  }
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
};

NIBBLE_REGISTER_SCHEDULE(Step, "step", "Multiplies the rate by gamma whenever another `epochs` epochs are finished.");

}  // namespace
}  // namespace nibble
