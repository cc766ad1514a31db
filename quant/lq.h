#pragma once

#include "layers/quantizer.h"
#include "quant/backward_rule.h"
#include "quant/level_pass.h"
#include "quant/qem.h"

namespace nibble {

/// LQ-Nets (Zhang et al., ECCV 2018). Any shape in, same shape out.
///   q(x) = the nearest of the 2^K levels sum over k of v_k e_k, ties to the lower one         (sec. 3.2)
///   e_k in {-1, 1} with one basis v per output channel for weights, in {0, 1} with one basis for activations
/// In training ("train": "qem") every pass refits the basis to its data, T times                (eq. 7-8, alg. 1)
///   v <- a v + (1 - a) v*, with a = 0.9
/// Its output has the levels of the old basis (for T > 1: of the last refitted one but one); the new one is taken over
/// by after_update(), or else at the start of the next training pass. Departs: eq. 8 gets a small pull to the old
/// basis, without which a bit that is never set makes it singular (qem.h).
/// "train": "bp" is table 1's comparison: v is a parameter, dL/dv_k = sum of dy e_k.
///   dq/dx = the backward rule on x, with the lowest and highest level: "identity" for weights, "below" for activations
/// An entry of a basis that was positive stays so: 1e-8 at least, 1e37 at most; what would leave that is counted.
class Lq final : public Quantizer {
 public:
  struct Options {
    int bits = 2;
    std::string role = "act";  ///< "weight" or "act"
    bool is_signed = false;
    bool per_channel = true;
    int channels = 1;     ///< of the weight; the policy fills it in
    int64_t fan_out = 0;  ///< kh * kw * channels of the weight; 0 takes the channels
    std::string train = "qem";
    int iterations = 1;    ///< T
    double average = 0.9;  ///< a
    bool ema_debias = false;
    double proximal = 1e-4;  ///< delta of the pull
    std::string init = "normal";
    Config backward{};
    void fields(Fields& f);
  };
  explicit Lq(const Options& options);

  std::string_view type() const override { return "lq"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  void visit(StateVisitor& visitor) override;
  void after_update() override;
  Surrogate surrogate(const Tensor& x) const override;
  Complaints audit_state(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 private:
  int64_t channels() const { return basis_.numel() / options_.bits; }
  bool trains_basis() const { return options_.train == "bp"; }
  void set_normal_basis();
  void set_basis_from(const Tensor& x);
  void fit(const Tensor& x, int iterations, float* y);
  void average();
  void take_over();
  float bounded(double value, float before);

  Options options_;
  BasisForm form_;
  std::shared_ptr<const BackwardRule> rule_;
  Tensor basis_;  ///< (channels, bits)
  Tensor next_;   ///< the same after the average
  Tensor state_;  ///< i64: whether the basis is set, how often it was guarded, number of averages, whether next_ waits
  LevelTables tables_;
  LevelPass pass_;
  std::vector<float> current_;       ///< the bases that the last iteration quantized with
  std::vector<SmallVector> fitted_;  ///< v*, per channel
};

}  // namespace nibble
