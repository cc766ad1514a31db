#pragma once

#include "quant/lowering/gemm_window.h"
#include "quant/lowering/lowered_layer.h"

namespace nibble {

/// A convolution or linear layer on real inputs whose weights stay packed at the bits of their levels, on disk and in
/// memory: they are unpacked for some output channels at a time. (N, H, W, in) or, if `linear`, (N, in), f32 ->
/// (N, OH, OW, out) or (N, out), f32. Buffers:
///   weight  u8, codes packed at `bits` bits each (layers/packed.h), in the order (out, in/groups, kh, kw)
///   levels  f32 (1, L) or (out, L): the value of each code
///   bias    f32 (out), if there is one
class PackedConvLayer final : public LoweredLayer {
 public:
  struct Options : GemmWindow {
    int bits = 8;
    int levels = 256;
    bool per_channel = false;  ///< every output channel has its own levels
    bool bias = false;
    void fields(Fields& f);
  };
  explicit PackedConvLayer(const Options& options);

  std::string_view type() const override { return "packed_conv"; }
  void visit(StateVisitor& visitor) override;
  void after_load() override;
  Json config() const override { return written_options(options_, {"in", "out"}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override;
  std::optional<CodedWeight> coded_weight() const override { return {{weight_, options_, options_.bits}}; }

  /// Packs the weight of a gemm, all of whose elements lie on its grid.
  void set(const GemmForm& gemm);

 private:
  Tensor compute(Inputs in) override;
  /// The weights of output channels first .. last - 1.
  Tensor unpacked(int64_t first, int64_t last) const;

  Options options_;
  Tensor weight_, levels_, bias_;
};

/// The layer for a gemm. Throws Error saying why its weight cannot be packed: it is real, or off its grid.
std::shared_ptr<PackedConvLayer> build_packed(const GemmForm& gemm);

}  // namespace nibble
