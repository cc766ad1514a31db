#pragma once

#include "quant/lowering/lowered_layer.h"
#include "quant/lowering/pool_window.h"

namespace nibble {

/// Mean of each window on codes. (N, H, W, C) -> (N, OH, OW, C), or (N, C) if global; u8. With the sum s of the n codes
/// inside the image and the divisor d (n, or the full window with count_padding):
///   fixed, in and out coded alike, d = n:  (s + n / 2) / n in integers                  (Jacob et al. 2018, TFLite)
///   fixed:  clamp(MBQM((s - n zero_in) 2^k, scale_in / (d scale_out 2^k)) + zero_out), the largest k up to 20 for
///   which
///           n 255 2^k < 2^31
///   float:  clamp(round_half_even(f32(s - n zero_in) * f32(scale_in / (d scale_out))) + zero_out)
class Int8AvgPool final : public LoweredLayer {
 public:
  struct Options {
    PoolWindow window;
    bool count_padding = false;
    std::string epilogue = "fixed";
    Coding in, out;
    void fields(Fields& f);
  };
  explicit Int8AvgPool(const Options& options);

  std::string_view type() const override { return "int8_avg_pool"; }
  Json config() const override { return written_options(options_, {}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override;

 private:
  Tensor compute(Inputs in) override;
  /// From sums to codes, in place of the kernel's own division.
  void rescale(const Tensor& sums, const PoolGeometry& geometry, const Shape& x, const Tensor& y) const;

  Options options_;
};

}  // namespace nibble
