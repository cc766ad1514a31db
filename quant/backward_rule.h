#pragma once

#include <memory>
#include <optional>
#include <span>

#include "core/config.h"
#include "core/registry.h"

namespace nibble {

/// Stands in for the derivative of a quantizer, whose own is zero almost everywhere. A rule is an object of its own,
/// named in any quantizer's "backward" option, so that every grid can be trained with every rule. All values are in
/// units of the quantizer's code (x / step) for uniform grids and in units of x for others; `lo` and `hi` are the
/// lowest and highest level in the same units.
class BackwardRule {
 public:
  using View = std::span<const float>;
  virtual ~BackwardRule() = default;
  /// The registered name.
  virtual std::string_view type() const = 0;
  /// dx[i] = dy[i] * slope(u[i]); dx may be dy's storage.
  virtual void input(View u, View dy, float lo, float hi, std::span<float> dx) const = 0;
  /// What stands in for the step function: a function of u whose derivative is the slope wherever it has one.
  virtual double surrogate(double u, double lo, double hi) const = 0;
  /// Sum over i of dy[i] * d(step * code(x / step)) / d(step), where code[i] is what u[i] became. Rules that say
  /// nothing of the step use LSQ's (eq. 3): code - u inside, code outside.
  virtual double step(View u, View code, View dy, float lo, float hi) const;
  /// A rule that passes gradients whole where first <= u <= last and blocks all others, and says nothing of the step,
  /// is known by these bounds: quantizers then need one pass of vector instructions where others take several.
  struct Window {
    float first, last;
    bool operator==(const Window&) const = default;
  };
  virtual std::optional<Window> window(float lo, float hi) const {
    static_cast<void>(lo), static_cast<void>(hi);
    return {};
  }
  /// Options that rebuild this rule, without "type".
  virtual Json config() const { return Json::object(); }
};

#define NIBBLE_REGISTER_BACKWARD_RULE(Derived, name, doc) NIBBLE_REGISTER(::nibble::BackwardRule, Derived, name, doc)

/// The rule under `config`: a name or an object with a "type"; `fallback` names the rule if config is absent. Throws
/// UsageError listing the known names.
std::shared_ptr<const BackwardRule> make_backward_rule(const Config& config, std::string_view fallback);

}  // namespace nibble
