#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>

#include "quant/kernels/bit_conv/bit_conv.h"
#include "quant/lowering/float_bits.h"
#include "quant/lowering/gemm_window.h"
#include "quant/lowering/lowered_layer.h"
#include "quant/lowering/real_output.h"

namespace nibble {

/// A gemm on codes of one to four bits and everything that followed it, as bits::BitConvSpec defines it: learned levels
/// (LQ-Nets, eq. 6) and equally spaced ones. (N, H, W, in) or, if `linear`, (N, in), u8 -> codes (u8) or reals (f32),
/// to which a second input may be added.
/// Buffers:
///   weight         u8, codes packed at `w_bits` bits each (layers/packed.h), in the order (out, in/groups, kh, kw)
///   w_offset       f32 (1) or (out): what a weight of code 0 stands for
///   w_basis        f32 (w_bits, 1) or (w_bits, out): what each bit adds
///   scale, offset  f32 (out)
class BitConvLayer final : public LoweredLayer {
 public:
  struct Options : GemmWindow {
    int w_bits = 1, a_bits = 1;
    int a_shift = 0;              ///< bit j of an activation is bit a_shift + j of its code
    std::string engine = "bits";  ///< or "float": the same bits out of f32 arithmetic (FloatBits)
    std::string rule = "integer";
    bool per_channel = false;  ///< w_offset and w_basis have an entry for every output channel
    double a_offset = 0;
    std::vector<double> a_basis{1};
    Coding input;                    ///< how the input is coded
    bool real = false;               ///< the output is f32
    RealOutput reals;                ///< what follows, if it is
    bool rounds = false;             ///< codes come from rounding, else from `thresholds`
    Coding coding;                   ///< of the output, if it is codes
    int lo = 0, hi = 255;            ///< bounds of its codes, if it rounds
    std::vector<double> thresholds;  ///< exceeded if the value is greater
    std::vector<int> codes;          ///< one more: the code by the number of thresholds exceeded
    void fields(Fields& f);
    /// Sets `input`, and a_shift, a_bits, a_offset and a_basis as it has them: for the integer rule in units of its
    /// scale, so set `rule` first.
    void take_input(const Coding& from);
  };
  /// The state, for whoever builds a layer that is not read from a file.
  struct State {
    Tensor weight, w_offset, w_basis, scale, offset;
  };
  explicit BitConvLayer(const Options& options);

  std::string_view type() const override { return "bit_conv"; }
  void visit(StateVisitor& visitor) override;
  /// Builds the plan. Throws Error if a number is out of its range.
  void after_load() override;
  Json config() const override { return written_options(options_, {"in", "out"}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override;
  std::optional<CodedWeight> coded_weight() const override { return {{state_.weight, options_, options_.w_bits}}; }
  std::string engine() const override { return options_.engine; }
  Shape term_shape(const Shape& input) const override { return options_.term_shape(input, options_.reals.adds); }
  /// The window, channels and kernel.
  std::string signature() const override;
  int64_t plan_bytes() const override;

  const State& state() const { return state_; }
  const Options& options() const { return options_; }
  /// Which kernel runs it.
  std::string describe() const;

 private:
  Tensor compute(Inputs in) override;
  bits::BitConvSpec spec(const Padding& pad) const;
  /// The plan for a border: one for all inputs unless the border depends on them.
  std::shared_ptr<const bits::BitConv> plan_for(const Padding& pad);

  Options options_;
  State state_;
  mutable std::mutex mutex_;
  std::map<std::array<int, 4>, std::shared_ptr<const bits::BitConv>> plans_;  ///< by border
  std::shared_ptr<const FloatBits> float_;                                    ///< of the engine "float"
};

}  // namespace nibble
