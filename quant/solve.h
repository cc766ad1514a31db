#pragma once

#include <array>

namespace nibble {

/// The size up to which the systems of the quantizers go: one unknown per bit of a code.
inline constexpr int kLargestSystem = 8;

using SmallVector = std::array<double, kLargestSystem>;
using SmallMatrix = std::array<SmallVector, kLargestSystem>;

/// Solves a x = b for a symmetric positive definite matrix of n rows (n <= 8) by Cholesky's factorisation; only the
/// lower triangle of a is read. Returns false, and leaves x as it is, if a is not positive definite or the solution
/// not finite.
bool solve_positive_definite(int n, const SmallMatrix& a, const SmallVector& b, SmallVector& x);

}  // namespace nibble
