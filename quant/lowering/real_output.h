#pragma once

#include <limits>

#include "core/config.h"
#include "core/tensor.h"
#include "quant/lowering/gemm_site.h"
#include "quant/lowering/pool_window.h"

namespace nibble {

/// What follows a gemm whose output stays real, as options: another term (the shortcut of a residual block), bounds,
/// max-pooling.
struct RealOutput {
  static constexpr float kUnbounded = std::numeric_limits<float>::max();

  bool adds = false;                             ///< there is a second input, f32, of the output's shape
  float least = -kUnbounded, most = kUnbounded;  ///< bounds of the sum; +-kUnbounded: none
  bool pools = false;                            ///< the largest of each `window` follows; then there is no other term
  PoolWindow window = {};
  void fields(Fields& f);

  /// Of a site without a closing quantizer. Throws Error if its bounds differ from channel to channel.
  static RealOutput of(const GemmSite& site);
  /// Throws Error unless least <= most, nothing follows codes, and only images without another term are pooled.
  void check(const char* who, bool real, bool linear) const;
  /// The bounds as numbers; infinite: none.
  float lower() const { return least == -kUnbounded ? -std::numeric_limits<float>::infinity() : least + 0.f; }
  float upper() const { return most == kUnbounded ? std::numeric_limits<float>::infinity() : most; }
  /// y = y + add, then lower() unless that is greater, then upper() unless that is less. `add` is undefined unless
  /// adds.
  void finish(const Tensor& y, const Tensor& add) const;
  /// The largest of each window of y, or y.
  Tensor pooled(const Tensor& y) const;
};

}  // namespace nibble
