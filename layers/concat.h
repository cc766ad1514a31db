#pragma once

#include "layers/layer.h"

namespace nibble {

/// Joins the channels (last axis) of one or more tensors, in order.
class Concat final : public Layer {
 public:
  struct Options {
    void fields(Fields&) {}
  };
  explicit Concat(const Options& = {}) {}

  std::string_view type() const override { return "concat"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Facts facts() const override {
    Facts facts;
    facts.join = Join::channels;
    return facts;
  }
};

}  // namespace nibble
