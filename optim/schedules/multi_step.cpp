#include <cmath>

#include "optim/schedule.h"

namespace nibble {
namespace {

class MultiStep final : public Schedule {
 public:
  struct Options {
    std::vector<double> milestones;
    double gamma = 0.1;
    std::vector<double> factors;
    void fields(Fields& f) {
      f.required()("milestones", milestones, "finished epochs after which the rate drops, ascending", kNonNegative);
      f("gamma", gamma, "factor of every drop, unless `factors` are given", kPositive);
      f("factors", factors, "fraction of the base rate behind every milestone, instead of powers of gamma",
        kNonNegative);
    }
  };

  explicit MultiStep(const Options& options) : options_(options) {
    const auto& at = options_.milestones;
    for (size_t i = 1; i < at.size(); ++i) {
      NIBBLE_CHECK(at[i - 1] < at[i], "multi_step: milestones must ascend, got ", at[i - 1], " before ", at[i]);
    }
    NIBBLE_CHECK(options_.factors.empty() || options_.factors.size() == at.size(), "multi_step: got ",
                 options_.factors.size(), " factors for ", at.size(), " milestones");
  }
  std::string_view type() const override { return "multi_step"; }
  double factor(const Clock& clock) const override {
    size_t passed = 0;
    for (const double epoch : options_.milestones) {
      passed += static_cast<double>(clock.step) >= std::round(epoch * static_cast<double>(clock.steps_per_epoch));
    }
    if (options_.factors.empty()) return std::pow(options_.gamma, static_cast<double>(passed));
    return passed == 0 ? 1 : options_.factors[passed - 1];
  }
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
};

NIBBLE_REGISTER_SCHEDULE(MultiStep, "multi_step", "Drops the rate at the listed epochs.");

}  // namespace
}  // namespace nibble
