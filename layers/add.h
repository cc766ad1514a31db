#pragma once

#include "layers/layer.h"

namespace nibble {

/// Sum of two or more tensors of equal shape.
class Add final : public Layer {
 public:
  struct Options {
    void fields(Fields&) {}
  };
  explicit Add(const Options& = {}) {}

  std::string_view type() const override { return "add"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Facts facts() const override {
    Facts facts;
    facts.join = Join::sum;
    return facts;
  }
};

}  // namespace nibble
