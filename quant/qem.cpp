#include "quant/qem.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nibble {

namespace {

/// The entry of bit k, -1 or 0 if the bit is clear.
double entry(const BasisForm& form, uint8_t code, size_t k) {
  return (code >> k & 1) != 0 ? 1.0 : form.is_signed ? -1.0 : 0.0;
}

/// The power of two of which every entry shall be a multiple, so that no sum of entries has more than 24 bits.
double unit_of(std::span<const float> basis) {
  double sum = 0;
  for (const float v : basis) sum += std::abs(v);
  if (sum == 0) return 1;
  const int exponent = std::ilogb(sum * (1 + 0x1p-20));  // rounding may lift the sum a little
  return std::ldexp(1.0, std::max(exponent - 23, -149));
}

}  // namespace

BitPlanes basis_grid(const BasisForm& form, std::span<const float> bases) {
  const auto bits = static_cast<size_t>(form.bits);
  const size_t channels = bases.size() / bits;
  BitPlanes grid{{}, std::vector<std::vector<float>>(bits, std::vector<float>(channels))};
  grid.offset.assign(form.is_signed ? channels : 1, 0.0f);
  for (size_t c = 0; c < channels; ++c) {
    const std::span<const float> basis = bases.subspan(c * bits, bits);
    const double unit = form.is_signed ? unit_of(basis) : 0;
    double sum = 0;
    for (size_t k = 0; k < bits; ++k) {
      if (!form.is_signed) {
        grid.basis[k][c] = basis[k];
        continue;
      }
      const double rounded = std::nearbyint(basis[k] / unit) * unit;
      grid.basis[k][c] = static_cast<float>(2 * rounded);
      sum += rounded;
    }
    if (form.is_signed) grid.offset[c] = static_cast<float>(-sum);
  }
  return grid;
}

bool refit(int bits, const SmallMatrix& g, const SmallVector& r, double proximal, SmallVector& v) {
  const auto size = static_cast<size_t>(bits);
  SmallMatrix raised = g;
  SmallVector rest = r, change{};
  for (size_t i = 0; i < size; ++i) {
    raised[i][i] += proximal;
    for (size_t j = 0; j < size; ++j) rest[i] -= g[i][j] * v[j];
  }
  if (!solve_positive_definite(bits, raised, rest, change)) return false;
  for (size_t i = 0; i < size; ++i) v[i] += change[i];
  return true;
}

bool refit(const BasisForm& form, std::span<const uint8_t> codes, const LevelSums& data, double proximal,
           SmallVector& v) {
  const auto bits = static_cast<size_t>(form.bits);
  SmallMatrix g{};
  for (size_t l = 0; l < codes.size(); ++l) {
    if (data.counts[l] == 0) continue;
    SmallVector e{};
    for (size_t k = 0; k < bits; ++k) e[k] = entry(form, codes[l], k);
    for (size_t i = 0; i < bits; ++i)
      for (size_t j = 0; j < bits; ++j) g[i][j] += static_cast<double>(data.counts[l]) * e[i] * e[j];
  }
  return refit(form.bits, g, sums_by_bit(form, codes, data), proximal, v);
}

SmallVector sums_by_bit(const BasisForm& form, std::span<const uint8_t> codes, const LevelSums& data) {
  SmallVector sums{};
  for (size_t l = 0; l < codes.size(); ++l) {
    if (data.counts[l] == 0) continue;
    for (size_t k = 0; k < static_cast<size_t>(form.bits); ++k) sums[k] += data.sums[l] * entry(form, codes[l], k);
  }
  return sums;
}

}  // namespace nibble
