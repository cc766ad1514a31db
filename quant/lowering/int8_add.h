#pragma once

#include "quant/kernels/int8_elementwise/int8_elementwise.h"
#include "quant/lowering/lowered_layer.h"

namespace nibble {

/// Sum of two tensors of codes of equal shape, each with its own scale (int8::Int8Add). u8, u8 -> u8.
class Int8AddLayer final : public LoweredLayer {
 public:
  struct Options {
    std::string epilogue = "fixed";
    Coding a, b, out;
    int lo = 0, hi = 255;
    void fields(Fields& f);
  };
  explicit Int8AddLayer(const Options& options);

  std::string_view type() const override { return "int8_add"; }
  Json config() const override { return written_options(options_, {}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override;

 private:
  Tensor compute(Inputs in) override;

  Options options_;
  int8::Int8Add add_;
};

}  // namespace nibble
