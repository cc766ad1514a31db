#pragma once

#include "layers/layer.h"

namespace nibble {

/// (N, H, W, C) -> (N, C*H*W), features in PyTorch's order (c, h, w).
class Flatten final : public Layer {
 public:
  struct Options {
    void fields(Fields&) {}
  };
  explicit Flatten(const Options& = {}) {}

  std::string_view type() const override { return "flatten"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Facts facts() const override {
    Facts facts;
    facts.selects = true;
    facts.move = MoveForm{.flatten = true};
    return facts;
  }
};

}  // namespace nibble
