#pragma once

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
};

/// Updates parameters from their gradients. Registered under the "type" of the "optim" section; the learning rate is
/// an argument because schedules own it.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// Takes over the parameters and creates their (zero) state. Call once.
  virtual void attach(std::vector<Param> params) = 0;
  /// One update from grad() of every parameter; those without a gradient stay. Allocates nothing.
  virtual void step(double lr) = 0;
  /// State that resuming needs, by name ("conv1.weight.momentum").
  virtual void visit_state(const std::function<void(const std::string&, Tensor&)>& visit) = 0;
  virtual const std::vector<Param>& params() const = 0;
  /// Base learning rate and the rest of the options, defaults included (without "type").
  virtual double base_lr() const = 0;
  virtual Json config() const = 0;
};

/// Clears the gradients of all parameters.
void zero_grads(const std::vector<Param>& params);

}  // namespace nibble
