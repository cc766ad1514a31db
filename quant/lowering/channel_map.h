#pragma once

#include <optional>
#include <string>
#include <vector>

#include "layers/layer.h"
#include "quant/lowering/coding.h"

namespace nibble {

/// y = clamp(a[c] x + b[c], lo[c], hi[c]) in double: a bias and the pointwise layers behind it, composed.
struct ChannelMap {
  std::vector<double> a, b, lo, hi;  ///< one entry per channel each

  /// y = x + bias; without a bias y = x.
  ChannelMap(size_t channels, const std::vector<float>& bias);
  /// Puts a layer behind. Throws Error if its channels do not fit.
  void then(const AffineClamp& next);
  /// Whether there are no bounds.
  bool unbounded() const;
};

/// True if an AffineClamp has no bounds.
bool unbounded(const AffineClamp& map);
/// True if it does the same to every channel.
bool same_for_all(const AffineClamp& map);

/// Codes between which a coded output lies.
struct CodeBounds {
  int lo = 0, hi = 255;
};
/// The bounds of a map as codes: round(bound / scale) + zero, half away from 0 (fixed) or half to even, within the
/// coding. Nothing if the channels differ in them.
std::optional<CodeBounds> code_bounds(const ChannelMap& map, const Coding& out, bool fixed);

}  // namespace nibble
