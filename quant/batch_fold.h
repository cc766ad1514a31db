#pragma once

#include <functional>
#include <string>

#include "core/ops/channel_sums.h"
#include "layers/layer.h"
#include "layers/weight_slot.h"
#include "quant/split_conv.h"

namespace nibble {

/// A batch norm whose scale is multiplied into the weight of the layer before it, in the training graph (Jacob et al.,
/// CVPR 2018, sec. 3.2, eq. 14; "corrected" after Krishnamoorthi, arXiv:1806.08342). With the running statistics mu and
/// sigma = sqrt(running_var + epsilon) as they stood before the batch, those of the batch mu_B and sigma_B, z = W x and
/// u = quantizer(weight / sigma * W) x:
///   "corrected", before `freeze`   y = (sigma / sigma_B) u + bias - weight mu_B / sigma_B
///   "corrected", from `freeze` on  y = u + bias - weight mu / sigma, running statistics kept
///   "plain"                        y = u + bias - weight mu / sigma, running statistics followed until `freeze`
///   evaluation                     y = u + bias - weight mu / sigma
/// Freezing begins after a given number of passes, or with the last part of the training that Pass::clock tells of (a
/// pass without a clock never freezes).
/// The gradients take mu_B and sigma_B for functions of z, mu and sigma for constants. A quantizer whose range is that
/// of the folded weight passes the gradients of all weights, also of those that the nudging of its zero point cuts off.
/// Named as in batch_norm, under "bn.": parameters "weight" (scale) and "bias" (offset), buffers "running_mean",
/// "running_var" and "passes", the number of training passes.
class BatchFold {
 public:
  struct Options {
    float momentum = 0.9f, epsilon = 1e-5f;
    bool scale = true, offset = true;
    std::string mode = "corrected";
    int64_t freeze = -1;        ///< training passes after which the statistics stand still; -1: by freeze_share
    double freeze_share = 0.1;  ///< last part of training, by its clock, in which they stand still
    void fields(Fields& f);
  };
  /// The layer's product of its input with a weight, plus a bias that may be undefined; records.
  using Product = std::function<Tensor(const Tensor& weight, const Tensor& bias)>;

  /// What the correction of a batch needs, per channel.
  struct Correction {
    std::vector<double> scale, offset;                ///< gamma, beta
    std::vector<double> deviation;                    ///< sigma, of the running statistics
    std::vector<double> batch_mean, batch_deviation;  ///< mu_B, sigma_B
  };

  BatchFold(const Options& options, int64_t channels);

  /// `split`, if there is one, computes the same product: with it and a weight quantizer that passes all gradients the
  /// corrected form costs little more than one convolution each way.
  Tensor forward(const Tensor& weight, const WeightSlot& slot, const Product& product, const Pass& pass,
                 const SplitConv* split = nullptr);
  void visit(StateVisitor& visitor);
  void initialize();
  /// scale / sigma * weight (eq. 14); records.
  Tensor folded(const Tensor& weight) const;
  /// bias - scale * running_mean / sigma.
  Tensor folded_bias() const;

 private:
  bool frozen(const Pass& pass) const;
  /// That of a batch with such moments and such a shape of z, whose statistics the running ones then follow.
  Correction correction(const ChannelMoments& moments, const Shape& z);
  std::vector<double> running_deviation() const;

  Options options_;
  Tensor scale_, offset_, mean_, variance_;
  Tensor passes_;  ///< i64
};

}  // namespace nibble
