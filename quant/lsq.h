#pragma once

#include "layers/elementwise_quantizer.h"
#include "quant/backward_rule.h"

namespace nibble {

/// Learned step size (Esser et al., ICLR 2020). Any shape in, same shape out.
///   q(x) = s * clamp(round(x / s), lo, hi), round half to even                              (eq. 1-2)
///   dq/ds = round(x/s) - x/s inside, lo or hi outside                                       (eq. 3)
///           times the gradient scale g, by default 1/sqrt(N * hi)                           (sec. 2.2)
///   dq/dx = the backward rule at x/s; "lsq" is the paper's                                  (eq. 5)
/// The step starts at 2 mean|x| / sqrt(hi) of the first tensor seen in training             (sec. 2.1)
/// or, with init "mse", at the one with the least mean squared error on that tensor; it
/// stays between 1e-8 and 1e36: an update that would leave them is undone up to there and counted.
class Lsq final : public ElementwiseQuantizer {
 public:
  struct Options {
    int bits = 4;
    std::string role = "act";  ///< "weight" or "act"
    bool is_signed = false;
    bool per_channel = false;
    int channels = 1;                 ///< of the weight; the policy fills it in
    std::string features = "sample";  ///< what N counts
    std::string scale = "n_qp";       ///< formula of g
    double scale_factor = 1.0;        ///< multiplies g
    std::string init = "paper";       ///< or "mse"
    double step = 0;                  ///< initial step; 0 takes it from the data
    Config backward{};
    void fields(Fields& f);
  };
  explicit Lsq(const Options& options);

  std::string_view type() const override { return "lsq"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  std::shared_ptr<const ElementwiseOp> training_op(const Shape& x) const override;
  Grid grid(const Tensor& x = {}) const override;
  void visit(StateVisitor& visitor) override;
  void after_update() override;
  Claims claims() const override { return {.scale_equivariant = options_.step == 0}; }
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_state(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  bool initialized() const { return state_.data<int64_t>()[0] != 0; }
  void initialize_step(const Tensor& x);
  double gradient_scale(const Shape& x) const;

  Options options_;
  int lo_, hi_;
  std::shared_ptr<const BackwardRule> rule_;
  Tensor step_;   ///< one per channel
  Tensor state_;  ///< i64: whether the step is set, how often it was guarded
};

}  // namespace nibble
