#pragma once

#include "layers/quantizer.h"

namespace nibble {

/// The grid of a weight that is final, as numbers: what pack() puts in the place of the quantizer that found it. The
/// weight is on it already; evaluation snaps to it, training is refused. State "table" (rows, channels), f32:
///   uniform    scale, and with "offset" the offset       levels offset + scale q, lo <= q <= hi
///   planes     offset, then a basis vector per plane      levels offset + sum of basis_k bit_k
///   codebook   the levels in ascending order, one channel
class FixedGrid final : public Quantizer {
 public:
  struct Options {
    std::string kind;
    int channels = 1;
    int lo = -1, hi = 1;
    bool offset = false;
    int planes = 1, levels = 2;
    Config source{nullptr};  ///< the quantizer whose grid this is, with its options
    void fields(Fields& f);
  };
  explicit FixedGrid(const Options& options);
  /// With the grid's numbers. Throws Error on Real and on a grid that is not well formed.
  FixedGrid(const Grid& grid, const Config& source);

  std::string_view type() const override { return "fixed_grid"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Grid grid(const Tensor& x = {}) const override;
  void visit(StateVisitor& visitor) override { visitor.buffer("table", table_); }
  Json config() const override { return write_options(options_); }
  /// What the source promises.
  Complaints audit_values(const Tensor& w) const override;
  /// The stored weight lies on the grid.
  Complaints audit_state(const Tensor& w) const override;

 private:
  std::vector<float> row(int64_t index) const;

  Options options_;
  Tensor table_;
};

}  // namespace nibble
