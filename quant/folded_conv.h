#pragma once

#include "layers/geometry.h"
#include "layers/layer.h"
#include "quant/batch_fold.h"

namespace nibble {

/// Convolution and the batch norm behind it as one layer whose weight quantizer sees the folded weight: what conv2d
/// -> batch_norm becomes for integer inference (see BatchFold). Parameter "weight" (out, in/groups, kh, kw), the batch
/// norm's state under "bn.", the quantizer's under "weight_quantizer.". A bias of the convolution would not be felt in
/// training; fold_batch_norm() puts one into the running mean.
class FoldedConv final : public Layer {
 public:
  struct Options {
    int in = 1, out = 1;
    Extent2 kernel{3, 3}, stride{1, 1};
    PadOption pad{};
    Extent2 dilation{1, 1};
    int groups = 1;
    std::string init = "he_fan_in";
    float std = 0.01f;
    BatchFold::Options norm;
    Config weight_quant{nullptr};
    void fields(Fields& f);
  };
  explicit FoldedConv(const Options& options);

  std::string_view type() const override { return "conv2d_bn"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  void visit(StateVisitor& visitor) override;
  void initialize(const Rng& rng) override;
  Json config() const override;
  Facts facts() const override;
  WeightSlot* weight_slot() override { return &quantizer_; }
  void after_update() override { quantizer_.after_update(weight_); }

 private:
  Options options_;
  Tensor weight_;
  BatchFold norm_;
  WeightSlot quantizer_;
};

/// The same for a linear layer: parameter "weight" (out, in).
class FoldedLinear final : public Layer {
 public:
  struct Options {
    int in = 1, out = 1;
    std::string init = "he_fan_in";
    float std = 0.01f;
    BatchFold::Options norm;
    Config weight_quant{nullptr};
    void fields(Fields& f);
  };
  explicit FoldedLinear(const Options& options);

  std::string_view type() const override { return "linear_bn"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  void visit(StateVisitor& visitor) override;
  void initialize(const Rng& rng) override;
  Json config() const override;
  Facts facts() const override;
  WeightSlot* weight_slot() override { return &quantizer_; }
  void after_update() override { quantizer_.after_update(weight_); }

 private:
  Options options_;
  Tensor weight_;
  BatchFold norm_;
  WeightSlot quantizer_;
};

}  // namespace nibble
