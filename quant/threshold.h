#pragma once

#include <cmath>
#include <limits>

namespace nibble {

/// The threshold of a Codebook at the real number t: `threshold < x` says for every float x whether x > t, or x >= t if
/// t itself belongs above (`inclusive`).
inline float codebook_threshold(double t, bool inclusive) {
  const auto near = static_cast<float>(t);
  const bool above = inclusive ? near >= t : near > t;
  return above ? std::nextafter(near, -std::numeric_limits<float>::infinity()) : near;
}

}  // namespace nibble
