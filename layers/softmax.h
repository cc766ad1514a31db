#pragma once

#include "layers/layer.h"

namespace nibble {

/// Probabilities of each row, for evaluation: training's cross entropy contains its own softmax.
class Softmax final : public Layer {
 public:
  struct Options {
    void fields(Fields&) {}
  };
  explicit Softmax(const Options& = {}) {}

  std::string_view type() const override { return "softmax"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Facts facts() const override {
    Facts facts;
    facts.softmax = true;
    return facts;
  }
};

}  // namespace nibble
