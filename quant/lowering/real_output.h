#pragma once

#include <limits>

#include "core/config.h"
#include "core/tensor.h"
#include "quant/lowering/gemm_site.h"

namespace nibble {

/// What follows a gemm whose output stays real, as options: another term (the shortcut of a residual block), bounds.
struct RealOutput {
  static constexpr float kUnbounded = std::numeric_limits<float>::max();

  bool adds = false;                             ///< there is a second input, f32, of the output's shape
  float least = -kUnbounded, most = kUnbounded;  ///< bounds of the sum; +-kUnbounded: none
  void fields(Fields& f);

  /// Of a site without a closing quantizer. Throws Error if its bounds differ from channel to channel.
  static RealOutput of(const GemmSite& site);
  /// Throws Error unless least <= most and, if the output is codes, nothing follows.
  void check(const char* who, bool real) const;
  /// The bounds as numbers; infinite: none.
  float lower() const { return least == -kUnbounded ? -std::numeric_limits<float>::infinity() : least + 0.f; }
  float upper() const { return most == kUnbounded ? std::numeric_limits<float>::infinity() : most; }
  /// y = y + add, then lower() unless that is greater, then upper() unless that is less. `add` is undefined unless
  /// adds.
  void finish(const Tensor& y, const Tensor& add) const;
};

}  // namespace nibble
