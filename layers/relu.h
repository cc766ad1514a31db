#pragma once

#include "layers/layer.h"

namespace nibble {

/// max(x, 0).
class Relu final : public Layer {
 public:
  struct Options {
    void fields(Fields&) {}
  };
  explicit Relu(const Options& = {}) {}

  std::string_view type() const override { return "relu"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Facts facts() const override;
};

}  // namespace nibble
