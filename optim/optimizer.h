#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/registry.h"
#include "core/tensor.h"

namespace nibble {

/// A trainable tensor as the optimizer sees it.
struct Param {
  std::string name;
  Tensor tensor;
  bool decay = true;       ///< weight decay applies
  float lr_factor = 1.0f;  ///< multiplies the learning rate
  Tensor mask{};           ///< u8, as many elements: those at 0 and their state stay; undefined means none
};

/// A linear rise of the learning rate at the start of training, given in epochs or in steps; both 0 means none.
struct Warmup {
  double epochs = 0;
  int64_t steps = 0;
  double from = 0.1;  ///< the first step's fraction of the scheduled rate
  void fields(Fields& f);
};

/// The options every "optim" section has besides its own.
struct OptimOptions {
  double lr = 0.1;
  double weight_decay = 0;
  std::vector<std::string> no_decay;  ///< patterns (core/glob.h) of parameter names
  Config schedule;                    ///< a Schedule; none means constant
  Warmup warmup;
  void fields(Fields& f);
};

/// Updates parameters from their gradients. Registered under the "type" of the "optim" section; the learning rate is
/// an argument because schedules own it (learning_rate.h).
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// Takes over the parameters and creates their state. Call once. Throws UsageError if a pattern in `no_decay`, or
  /// one of its alternatives, matches no parameter.
  virtual void attach(std::vector<Param> params) = 0;
  /// One update from grad() of every parameter; those without a gradient stay. Allocates nothing.
  virtual void step(double lr) = 0;
  /// Forgets what earlier steps left behind (momentum, moments), as if attached just now.
  virtual void reset_state() = 0;
  /// State that resuming needs, by name ("conv1.weight.momentum").
  virtual void visit_state(const std::function<void(const std::string&, Tensor&)>& visit) = 0;
  virtual const std::vector<Param>& params() const = 0;
  virtual const OptimOptions& options() const = 0;
  double base_lr() const { return options().lr; }
  /// All options, defaults and those of the schedule included (without "type").
  virtual Json config() const = 0;
};

#define NIBBLE_REGISTER_OPTIMIZER(Derived, name, doc) NIBBLE_REGISTER(::nibble::Optimizer, Derived, name, doc)

/// Clears the gradients of all parameters.
void zero_grads(const std::vector<Param>& params);

}  // namespace nibble
