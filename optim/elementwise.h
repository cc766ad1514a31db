#pragma once

#include "optim/learning_rate.h"
#include "optim/optimizer.h"

namespace nibble {

/// Base of the optimizers that update every element from its own gradient and its own state. It walks all parameters
/// in one parallel loop; a derived class says how a run of elements changes.
class ElementwiseOptimizer : public Optimizer {
 public:
  void attach(std::vector<Param> params) final;
  void step(double lr) final;
  void reset_state() override;
  void visit_state(const std::function<void(const std::string&, Tensor&)>& visit) override;
  const std::vector<Param>& params() const final { return params_; }

 protected:
  /// State of one float per element, called "<parameter>.<name>".
  struct Slot {
    std::string name;
    float initial = 0;
  };
  static constexpr size_t kMaxSlots = 2;

  /// A run of elements of one parameter.
  struct Run {
    float* w = nullptr;
    const float* g = nullptr;
    float* state[kMaxSlots] = {};  ///< in the order of the slots
    int64_t n = 0;
    float lr = 0;     ///< with the parameter's factor
    float decay = 0;  ///< weight decay, 0 if exempt
  };

  /// Builds the schedule once, so that errors in it show when the optimizer is made.
  ElementwiseOptimizer(const OptimOptions& options, std::vector<Slot> slots);
  /// Called before the runs of a step.
  virtual void begin_step() {}
  /// Updates a run; called from several threads.
  virtual void update(const Run& run) const = 0;
  /// update() of the elements that the mask leaves free.
  void update_masked(const Run& run, const uint8_t* mask) const;
  /// The written options, with the schedule's own defaults filled in.
  Json resolved(Json options) const;

 private:
  void set_decay();

  std::string schedule_type_;
  Json schedule_;
  std::vector<Slot> slots_;
  std::vector<Param> params_;
  std::vector<Tensor> state_;    ///< slots_.size() per parameter
  std::vector<Run> runs_;        ///< one per parameter, rewritten in every step
  std::vector<int64_t> starts_;  ///< of the parameters in the row of all elements, and its length
};

}  // namespace nibble
