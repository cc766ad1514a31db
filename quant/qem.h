#pragma once

#include <vector>

#include "core/grid.h"
#include "quant/level_pass.h"
#include "quant/solve.h"

/// The bases of LQ-Nets (Zhang et al., ECCV 2018) and the step of their QEM algorithm that fits them to data.
namespace nibble {

/// Bases of one or more channels: level = sum over k of basis[k] * e_k, with e_k in {lo, 1} and lo = -1 or 0. They are
/// stored channel by channel, bit 0 first.
struct BasisForm {
  int bits = 1;
  bool is_signed = false;  ///< lo is -1
};

/// The grid of these bases. For codes of -1 and +1 an entry is first rounded to a multiple of a power of two, by at
/// most 2^-24 of the sum of the channel's absolute values: so every level is a float exactly, and the levels are
/// symmetric about a threshold that is exactly 0.
BitPlanes basis_grid(const BasisForm& form, std::span<const float> bases);

/// G d = r - G v with G = B B^T, r = B x and a diagonal raised by `proximal`: v + d minimises
/// |B^T v' - x|^2 + proximal |v' - v|^2 (eq. 8). In directions of which the data say nothing d is 0. Returns false and
/// leaves v alone if the system is singular (proximal 0) or the result not finite.
bool refit(int bits, const SmallMatrix& g, const SmallVector& r, double proximal, SmallVector& v);

/// Eq. 8 for one channel, from the counts and sums of the levels that its elements were given with the basis v.
/// Departs: the paper inverts G, which is singular where a bit is never set; see `refit`.
bool refit(const BasisForm& form, std::span<const uint8_t> codes, const LevelSums& data, double proximal,
           SmallVector& v);

/// The derivative of sum over i of values[i] * level(x[i]) by the basis with the codes held: sum of values[i] * e_k.
SmallVector sums_by_bit(const BasisForm& form, std::span<const uint8_t> codes, const LevelSums& data);

}  // namespace nibble
