#pragma once

#include "quant/incremental.h"

namespace nibble {

/// Incremental network quantization (Zhou et al., ICLR 2017): weights of one layer in {0, +-2^n2, ..., +-2^n1}.
///   n1 = floor(log2(4 s / 3)), s = max|W| of the weight that training starts with; n2 = n1 + 1 - 2^(bits-1) / 2
///   q(w) = 2^n sign(w) where 0.75 * 2^n <= |w| < 1.5 * 2^n; the smallest level begins at 2^n2 / 2, below it is 0
/// At the start of phase n the accumulated portion portions[n] of all weights is fixed: the free ones with the largest
/// magnitudes first, or in random order. Departs: a weight that training has moved to 1.5 * 2^n1 or beyond takes the
/// outermost level, where the paper's rule says 0.
class Inq final : public IncrementalQuantizer {
 public:
  struct Options : IncrementalQuantizer::Options {
    int bits = 5;
    std::vector<double> portions = {0.5, 0.75, 0.875, 1};
    std::string partition = "magnitude";
    uint64_t seed = 0;
    void fields(Fields& f);
  };
  explicit Inq(const Options& options);

  std::string_view type() const override { return "inq"; }
  Complaints audit_values(const Tensor& w) const override;
  Json config() const override { return write_options(options_); }

 protected:
  float centre_of(const Tensor& w) const override;
  Grid grid_of(float highest) const override;
  void join(int phase, const Tensor& w, std::span<uint8_t> free) const override;

 private:
  Options options_;
};

}  // namespace nibble
