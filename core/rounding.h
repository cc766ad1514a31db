#pragma once

namespace nibble {

/// To the nearest integer, ties to even, for |v| <= 2^22: the sum has no room for a fraction. The one rounding of
/// codes; unlike std::nearbyint, compilers turn it into vector instructions on every processor.
inline float round_half_even(float v) {
  constexpr float kShift = 0x1.8p23f;
  return (v + kShift) - kShift;
}

}  // namespace nibble
