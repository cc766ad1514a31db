#pragma once

#include "layers/layer.h"
#include "layers/weight_slot.h"

namespace nibble {

/// (N, in) -> (N, out): y = x weight^T + bias. Parameters: "weight" (out, in), "bias" (out); the weight quantizer's
/// state lies under "weight_quantizer.".
class Linear final : public Layer {
 public:
  struct Options {
    int in = 1, out = 1;
    bool bias = true;
    std::string init = "he_fan_in";
    float std = 0.01f;
    Config weight_quant{nullptr};
    void fields(Fields& f);
  };
  explicit Linear(const Options& options);

  std::string_view type() const override { return "linear"; }
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
  Tensor weight_, bias_;
  WeightSlot quantizer_;
};

}  // namespace nibble
