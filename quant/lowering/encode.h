#pragma once

#include "quant/lowering/lowered_layer.h"

namespace nibble {

/// Reals to codes on a grid: nibble::encode(), times the coding's unit. (any shape) f32 -> u8.
class Encode final : public LoweredLayer {
 public:
  struct Options {
    Config grid{nullptr};
    void fields(Fields& f);
  };
  explicit Encode(const Options& options);

  std::string_view type() const override { return "encode"; }
  Json config() const override { return written_options(options_, {"grid"}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override;

 private:
  Tensor compute(Inputs in) override;
  /// Codes by steps_; false if an element is NaN.
  bool count_steps(const Tensor& x, const Tensor& codes) const;

  Options options_;
  Grid grid_;
  Coding coding_;
  std::array<uint8_t, 256> table_{};  ///< from the grid's codes
  Steps steps_;                       ///< where the levels are few: counting thresholds is faster than dividing
};

}  // namespace nibble
