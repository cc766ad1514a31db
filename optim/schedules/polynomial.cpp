#include <cmath>

#include "optim/schedule.h"

namespace nibble {
namespace {

class Polynomial final : public Schedule {
 public:
  struct Options {
    double power = 1, end = 0, epochs = 0;
    void fields(Fields& f) {
      f("power", power, "1 is linear", kPositive);
      f("end", end, "fraction of the base rate at the end", kNonNegative);
      f("epochs", epochs, "epochs until the end; 0 is the whole run", kNonNegative);
    }
  };
  explicit Polynomial(const Options& options) : options_(options) {}
  std::string_view type() const override { return "polynomial"; }
  double factor(const Clock& clock) const override {
    return options_.end + (1 - options_.end) * std::pow(1 - clock.progress(options_.epochs), options_.power);
  }
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
};

NIBBLE_REGISTER_SCHEDULE(Polynomial, "polynomial", "end + (1 - end) * (1 - t)^power, t from 0 to 1, every step.");

}  // namespace
}  // namespace nibble
