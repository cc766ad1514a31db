#pragma once

#include "core/ops/elementwise_op.h"
#include "layers/layer.h"

namespace nibble {

/// Batch normalisation of the last axis (Ioffe and Szegedy, ICML 2015, alg. 1 and 2): in training by the statistics of
/// the batch, in evaluation by running averages. PyTorch's names: parameters "weight" (scale) and "bias" (offset),
/// buffers "running_mean" and "running_var".
class BatchNorm final : public Layer {
 public:
  struct Options {
    int channels = 1;
    float momentum = 0.9f, epsilon = 1e-5f;
    bool scale = true, offset = true;
    void fields(Fields& f);
  };
  explicit BatchNorm(const Options& options);

  std::string_view type() const override { return "batch_norm"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  /// A training pass with what follows: min(max(forward(x) + residual, 0), most); `residual` may be undefined.
  /// With `then`, what that makes of it.
  Tensor forward_clamped(const Tensor& x, const Tensor& residual, float most,
                         const std::shared_ptr<const ElementwiseOp>& then = {});
  /// The same in evaluation, without `then`.
  Tensor evaluate_clamped(const Tensor& x, const Tensor& residual, float most) const;
  /// forward_clamped() and what `also` makes of it.
  std::pair<Tensor, Tensor> forward_clamped_and(const Tensor& x, const Tensor& residual, float most,
                                                const std::shared_ptr<const ElementwiseOp>& also);
  void visit(StateVisitor& visitor) override;
  void initialize(const Rng& rng) override;
  Json config() const override { return write_options(options_); }
  Facts facts() const override;

 private:
  Options options_;
  Tensor scale_, offset_;
  BatchNormState state_;
};

}  // namespace nibble
