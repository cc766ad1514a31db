#pragma once

#include "layers/layer.h"

namespace nibble {

/// Mean over all pixels: (N, H, W, C) -> (N, C).
class GlobalAvgPool final : public Layer {
 public:
  struct Options {
    void fields(Fields&) {}
  };
  explicit GlobalAvgPool(const Options& = {}) {}

  std::string_view type() const override { return "global_avg_pool"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Facts facts() const override {
    Facts facts;
    facts.window = WindowForm{.mean = true, .global = true};
    return facts;
  }
};

}  // namespace nibble
