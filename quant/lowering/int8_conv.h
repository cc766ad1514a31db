#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>

#include "quant/kernels/int8_conv/int8_conv.h"
#include "quant/lowering/float_conv.h"
#include "quant/lowering/gemm_window.h"
#include "quant/lowering/lowered_layer.h"
#include "quant/lowering/real_output.h"

namespace nibble {

/// A gemm on codes with everything that followed it: what a convolution or linear layer with its bias, batch norm,
/// activation and closing quantizer becomes (see int8::Int8ConvSpec for the arithmetic). (N, H, W, in) or, if `linear`,
/// (N, in), u8 -> codes (u8) or reals (f32), to which a second input may be added. Buffers:
///   weight       u8, codes packed at `bits` bits each (layers/packed.h), in the order (out, in/groups, kh, kw)
///   weight_zero  i32 (1) or (out): the code of 0, in half steps if `halves`
///   bias, multiplier, shift         i32 (out), fixed-point codes
///   scale, offset [, sum_scale]     f32 (out), else
class Int8ConvLayer final : public LoweredLayer {
 public:
  struct Options : GemmWindow {
    int bits = 8;
    bool halves = false;            ///< weight zeros count half steps: int8::Int8ConvSpec::w_unit is 2
    bool zero_per_channel = false;  ///< weight_zero has `out` entries
    bool sum_term = false;          ///< there is a sum_scale
    std::string engine = "int8";    ///< or "float": the same bits out of f32 arithmetic (FloatConv)
    std::string epilogue = "fixed";
    bool real = false;  ///< the output is f32
    RealOutput reals;   ///< what follows, if it is
    int in_zero = 0;
    Coding coding;         ///< of the output, if it is codes
    int lo = 0, hi = 255;  ///< bounds of its codes
    void fields(Fields& f);
  };
  /// The state, for whoever builds a layer that is not read from a file.
  struct State {
    Tensor weight, weight_zero, bias, multiplier, shift, scale, offset, sum_scale;
  };
  explicit Int8ConvLayer(const Options& options);

  std::string_view type() const override { return "int8_conv"; }
  void visit(StateVisitor& visitor) override;
  /// Builds the plan. Throws Error if a number is out of its range.
  void after_load() override;
  Json config() const override { return written_options(options_, {"in", "out"}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override;
  std::optional<CodedWeight> coded_weight() const override { return {{state_.weight, options_, options_.bits}}; }

  std::string engine() const override { return options_.engine; }
  Shape term_shape(const Shape& input) const override { return options_.term_shape(input, options_.reals.adds); }
  /// The window, channels and kernel.
  std::string signature() const override;
  /// Fixed-point: a bias in whole units of the accumulator, and the rounding before the last shift.
  double slack() const override;
  const State& state() const { return state_; }
  const Options& options() const { return options_; }
  int64_t plan_bytes() const override;
  /// Which kernel runs it.
  std::string describe() const;

 private:
  Tensor compute(Inputs in) override;
  /// With pooling behind the convolution, whose whole output, (N, OH, OW, out), never is in memory.
  Tensor compute_bands(const Tensor& x, const Shape& whole, const Padding& pad);
  bool fixed_codes() const { return options_.epilogue == "fixed" && !options_.real; }
  int8::Int8ConvSpec spec(const Padding& pad) const;
  /// The plan for a border: one for all inputs unless the border depends on them.
  std::shared_ptr<const int8::Int8Conv> plan_for(const Padding& pad);

  Options options_;
  State state_;
  mutable std::mutex mutex_;
  std::map<std::array<int, 4>, std::shared_ptr<const int8::Int8Conv>> plans_;  ///< by border, all on the same weights
  std::shared_ptr<const FloatConv> float_;                                     ///< of the engine "float"
};

}  // namespace nibble
