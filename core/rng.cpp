#include "core/rng.h"

#include <cmath>
#include <numbers>

namespace nibble {

namespace {

/// Natural logarithm of x in (0, 1] out of exactly rounded operations, so that it is the same on every machine; the
/// relative error is below 1e-13.
double portable_log(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);
  if (m < std::numbers::sqrt2 / 2) {
    m *= 2;
    --exponent;
  }
  const double t = (m - 1) / (m + 1), t2 = t * t;
  double series = 0;
  for (int k = 21; k >= 1; k -= 2) series = series * t2 + 1.0 / k;
  return 2 * t * series + exponent * std::numbers::ln2;
}

/// cos(2 pi u) for u in [0, 1), likewise.
double portable_cos_turn(double u) {
  if (u > 0.5) u = 1 - u;
  const bool flip = u > 0.25;
  if (flip) u = 0.5 - u;
  const double x = 2 * std::numbers::pi * u, x2 = x * x;
  double series = 1;
  for (int k = 20; k >= 2; k -= 2) series = 1 - series * x2 / (k * (k - 1.0));
  return flip ? -series : series;
}

/// One round of a 64-bit finaliser (SplitMix64): spreads keys over the seed space.
uint64_t mix(uint64_t z) {
  z += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace

std::array<uint32_t, 4> Rng::block(uint64_t index) const {
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                               static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)};
  uint32_t k0 = static_cast<uint32_t>(seed_), k1 = static_cast<uint32_t>(seed_ >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

float Rng::normal(uint64_t index) const {
  const auto [a, b, c, d] = block(index | (uint64_t{1} << 63));
  const double u = (static_cast<double>((uint64_t{a} << 21) ^ (b >> 11)) + 1) * 0x1p-53;
  const double v = static_cast<double>((uint64_t{c} << 21) ^ (d >> 11)) * 0x1p-53;
  return static_cast<float>(std::sqrt(-2 * portable_log(u)) * portable_cos_turn(v));
}

Rng Rng::split() { return child(mix(position_++) ^ 0x5851F42D4C957F2Du); }

Rng Rng::child(uint64_t key) const { return Rng(mix(seed_ ^ mix(key)), mix(stream_ + mix(key ^ 0xA5A5A5A5A5A5A5A5u))); }

Rng Rng::named(std::string_view key) const {
  uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a
  for (const char letter : key) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001B3u;
  return child(hash);
}

}  // namespace nibble
