#pragma once

#include "quant/lowering/lowered_layer.h"

namespace nibble {

/// Codes that only change their place (MoveForm): every stride-th row and column, then channels of the code of 0 in
/// front and behind, then (N, H, W, C) -> (N, C*H*W) in the order (c, h, w). u8 -> u8.
class Int8Move final : public LoweredLayer {
 public:
  struct Options {
    int stride = 1, channels = 0;
    bool centred = false, flatten = false;
    int zero = 0;
    void fields(Fields& f);
  };
  explicit Int8Move(const Options& options) : options_(options) {}

  std::string_view type() const override { return "int8_move"; }
  Json config() const override { return written_options(options_, {}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override;

 private:
  Tensor compute(Inputs in) override;

  Options options_;
};

}  // namespace nibble
