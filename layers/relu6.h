#pragma once

#include "layers/layer.h"

namespace nibble {

/// min(max(x, 0), 6).
class Relu6 final : public Layer {
 public:
  struct Options {
    void fields(Fields&) {}
  };
  explicit Relu6(const Options& = {}) {}

  std::string_view type() const override { return "relu6"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Facts facts() const override;
};

}  // namespace nibble
