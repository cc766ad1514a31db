#pragma once

#include <array>

#include "quant/lowering/lowered_layer.h"

namespace nibble {

/// Codes to reals: scale * (code - zero). (any shape) u8 -> f32.
class Decode final : public LoweredLayer {
 public:
  struct Options {
    Coding coding;
    void fields(Fields& f) { coding.fields(f); }
  };
  explicit Decode(const Options& options);

  std::string_view type() const override { return "decode"; }
  Json config() const override { return written_options(options_, {}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override;

 private:
  Tensor compute(Inputs in) override;

  Options options_;
  std::array<float, 256> values_;
};

}  // namespace nibble
