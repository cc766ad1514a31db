#include <cmath>
#include <numbers>

#include "optim/schedule.h"

namespace nibble {
namespace {

class Cosine final : public Schedule {
 public:
  struct Options {
    double end = 0, epochs = 0;
    void fields(Fields& f) {
      f("end", end, "fraction of the base rate at the end", kNonNegative);
      f("epochs", epochs, "epochs until the end; 0 is the whole run", kNonNegative);
    }
  };
  explicit Cosine(const Options& options) : options_(options) {}
  std::string_view type() const override { return "cosine"; }
  double factor(const Clock& clock) const override {
    const double t = clock.progress(options_.epochs);
    return options_.end + (1 - options_.end) * 0.5 * (1 + std::cos(std::numbers::pi * t));
  }
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
};

NIBBLE_REGISTER_SCHEDULE(Cosine, "cosine", "end + (1 - end) * (1 + cos(pi t)) / 2, t from 0 to 1, every step.");

}  // namespace
}  // namespace nibble
