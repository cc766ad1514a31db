#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace nibble {

/// Philox4x32-10 (Salmon et al., SC 2011). A number is a pure function of (seed, stream, index): the same on every
/// machine and thread. Distributions use only IEEE-exact operations, so they too agree bit for bit everywhere.
class Rng {
 public:
  explicit Rng(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  std::array<uint32_t, 4> block(uint64_t index) const;
  uint32_t bits(uint64_t index) const { return block(index >> 2)[index & 3]; }
  /// In [0, 1), 24 bits.
  float uniform(uint64_t index) const { return static_cast<float>(bits(index) >> 8) * 0x1p-24f; }
  /// Mean 0, variance 1.
  float normal(uint64_t index) const;
  /// In [0, n), unbiased to 2^-32; n > 0.
  uint32_t below(uint64_t index, uint32_t n) const { return static_cast<uint32_t>((uint64_t{bits(index)} * n) >> 32); }

  /// Sequential use: the number at `position()`, which then moves on.
  uint32_t next_bits() { return bits(position_++); }
  float next_uniform() { return uniform(position_++); }
  float next_normal() { return normal(position_++); }
  uint32_t next_below(uint32_t n) { return below(position_++, n); }
  /// An independent generator that is a function of (seed, stream, position); moves position on.
  Rng split();
  /// An independent generator named by a key, a pure function of (seed, stream, key).
  Rng named(std::string_view key) const;
  Rng child(uint64_t key) const;

  uint64_t seed() const { return seed_; }
  uint64_t stream() const { return stream_; }
  uint64_t position() const { return position_; }
  void set_position(uint64_t position) { position_ = position; }

 private:
  uint64_t seed_, stream_, position_ = 0;
};

}  // namespace nibble
