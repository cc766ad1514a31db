#pragma once

#include "layers/geometry.h"
#include "layers/layer.h"
#include "layers/weight_slot.h"

namespace nibble {

/// Convolution of (N, H, W, in) with weight (out, in/groups, kh, kw) and, if wanted, bias (out). Parameters: "weight",
/// "bias"; the weight quantizer's state lies under "weight_quantizer.". Throws if groups divides not both in and out.
class Conv2d final : public Layer {
 public:
  struct Options {
    int in = 1, out = 1;
    Extent2 kernel{3, 3}, stride{1, 1};
    PadOption pad{};
    Extent2 dilation{1, 1};
    int groups = 1;
    bool bias = true;
    std::string init = "he_fan_in";
    float std = 0.01f;
    Config weight_quant{nullptr};
    void fields(Fields& f);
  };
  explicit Conv2d(const Options& options);

  std::string_view type() const override { return "conv2d"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  void visit(StateVisitor& visitor) override;
  void initialize(const Rng& rng) override;
  Json config() const override;
  Facts facts() const override;

  WeightSlot* weight_slot() override { return &quantizer_; }
  void after_update() override { quantizer_.after_update(weight_); }
  const Tensor& weight() const { return weight_; }

 private:
  Options options_;
  ConvGeometry geometry_;
  Tensor weight_, bias_;
  WeightSlot quantizer_;
};

}  // namespace nibble
