#pragma once

#include <string>

#include "layers/quantizer.h"
#include "quant/backward_rule.h"

namespace nibble {

/// What incremental weight quantizers (ELQ, INQ) have in common: the centres are fixed from the weight that training
/// starts with; at the start of every phase of the schedule some more weights join those that are stored quantized and
/// stay so, bit for bit, since mask() keeps optimizer, momentum and decay away from them; the others are trained on.
/// Training needs Pass::clock with as many phases as this has. In training the weight is used as it is stored (fixed
/// ones quantized, the others real), or quantized as a whole; in eval it is quantized as a whole.
class IncrementalQuantizer : public Quantizer {
 public:
  struct Options {
    std::string role = "weight";
    int channels = 1, fan_in = 1;        ///< the weight has channels * fan_in elements; the policy fills them in
    std::string forward = "mixed";       ///< "mixed" or "ste"
    std::string evaluate = "quantized";  ///< "quantized" or "mixed"
    Config backward;                     ///< for "ste"
    void fields(Fields& f);
  };

  Tensor forward(Inputs in, const Pass& pass) final;
  /// Real before training has begun, unless there is a weight to take the centres from.
  Grid grid(const Tensor& w = {}) const final;
  Surrogate surrogate(const Tensor& x) const final;
  Tensor mask() const final { return mask_; }
  void visit(StateVisitor& visitor) final;
  int phases() const final { return phases_; }
  /// The last phase has begun, and every stored weight is fixed at one of the levels.
  Complaints audit_state(const Tensor& w) const final;

 protected:
  IncrementalQuantizer(const Options& options, int phases);
  /// The number that the centres follow from (alpha, an exponent), from the reference weight.
  virtual float centre_of(const Tensor& w) const = 0;
  virtual Grid grid_of(float centre) const = 0;
  /// Clears free[i] of those that join at the start of this phase; the last phase takes the rest by itself.
  virtual void join(int phase, const Tensor& w, std::span<uint8_t> free) const = 0;
  /// After the partition, before the weight is used in a training step.
  virtual void prepare(const Tensor&, const TrainClock&) {}

  float centre() const { return centre_.item(); }
  /// The last phase that has begun; -1 before training.
  int phase() const { return static_cast<int>(state_.data<int64_t>()[0]) - 1; }

 private:
  void enter(const TrainClock& clock, const Tensor& w);

  Options common_;
  int phases_;
  std::shared_ptr<const BackwardRule> rule_;
  Tensor centre_;  ///< f32
  Tensor state_;   ///< i64: phases begun
  Tensor mask_;    ///< u8 (channels, fan_in): 1 is free
};

}  // namespace nibble
