#pragma once

#include <functional>

#include "layers/elementwise_quantizer.h"
#include "quant/affine_range.h"
#include "quant/backward_rule.h"

namespace nibble {

/// Simulated affine quantization (Jacob et al., CVPR 2018). Any shape in, same shape out.
///   c = clamp(x, nmin, nmax), y = floor((c - nmin) / S + 0.5) S + nmin                     (eq. 12)
/// with S, nmin and nmax from nudge(), so that 0 is a value. Formed as y = S (q - Z), which is exactly 0 at q = Z.
///   dy/dx = the backward rule at x / S; "clipped_ste", 1 on the nudged range with both ends, is the paper's
/// Weights: the range is that of the tensor at hand, codes 1..2^bits-1                      (sec. 3)
/// Activations: codes 0..2^bits-1; the range is a running average of the batches' ranges, each with 0, whose initial
/// value has no weight (zero-debiased), kept in training only; for the first `delay` training passes the values go
/// through while the range is collected                                                     (sec. 3.1)
/// Departs: with a range per channel S is rounded to 16 bits, without which the zero points, which differ, would not
/// all fall on 0 exactly in f32. Evaluation before any training or calibration uses the range [-6, 6].
class Affine final : public ElementwiseQuantizer {
 public:
  struct Options {
    int bits = 8;
    std::string role = "act";  ///< "weight" or "act"
    bool per_channel = false;
    int channels = 1;         ///< of the weight; the policy fills it in
    bool symmetric = false;   ///< the range is [-m, m]
    double decay = 0.999;     ///< weight of the old range
    int64_t delay = 0;        ///< training passes before quantization begins
    std::string ties = "up";  ///< the paper's, or "even" as other methods round
    Config backward;
    void fields(Fields& f);
  };
  explicit Affine(const Options& options);

  std::string_view type() const override { return "affine"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  bool follows_range() const override { return true; }
  std::shared_ptr<const ElementwiseOp> training_op(const Shape&) const override { return {}; }
  std::shared_ptr<const ElementwiseOp> training_op(const Shape& x, const ValueRange& range) override;
  void visit(StateVisitor& visitor) override;
  Claims claims() const override { return {.scale_equivariant = true}; }
  bool passes_all() const override;
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_state(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

  bool is_weight() const { return options_.role == "weight"; }
  /// Number of ranges: 1, or the channels.
  int64_t parts() const { return options_.per_channel ? options_.channels : 1; }
  /// Bounds of the codes.
  int qmin() const { return is_weight() ? 1 : 0; }
  int qmax() const { return (1 << options_.bits) - 1; }
  const Options& options() const { return options_; }
  /// Takes over ranges found by calibration, one per part. Weights keep them from then on; activations go on averaging
  /// from them in training. Throws unless they are finite.
  void set_ranges(std::span<const Extremes> ranges);
  /// While set, called with every tensor that forward() gets: for calibration.
  void observe(std::function<void(const Tensor&)> watch) { watch_ = std::move(watch); }

 private:
  enum Counter { kPasses, kAveraged, kFixed };  ///< entries of state_
  int64_t& counter(Counter which) { return state_.mutable_data<int64_t>()[which]; }
  int64_t counter(Counter which) const { return state_.data<int64_t>()[which]; }
  void average(const Extremes& batch);
  Ties ties() const { return options_.ties == "up" ? Ties::up : Ties::even; }
  std::vector<AffineRange> ranges_for(std::span<const Extremes> found) const;
  std::vector<Extremes> stored_ranges() const;

  Options options_;
  std::shared_ptr<const BackwardRule> rule_;
  std::function<void(const Tensor&)> watch_;
  Tensor range_;  ///< (parts, 2): lowest and highest value
  Tensor state_;  ///< i64: training passes, batches averaged, whether a weight's range is fixed
};

}  // namespace nibble
