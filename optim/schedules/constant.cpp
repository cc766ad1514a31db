#include "optim/schedule.h"

namespace nibble {
namespace {

class Constant final : public Schedule {
 public:
  struct Options {
    void fields(Fields&) {}
  };
  explicit Constant(const Options&) {}
  std::string_view type() const override { return "constant"; }
  double factor(const Clock&) const override { return 1; }
  Json config() const override { return Json::object(); }
};

NIBBLE_REGISTER_SCHEDULE(Constant, "constant", "The base learning rate throughout.");

}  // namespace
}  // namespace nibble
