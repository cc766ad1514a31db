#include "quant/solve.h"

#include <cmath>

namespace nibble {

bool solve_positive_definite(int n, const SmallMatrix& a, const SmallVector& b, SmallVector& x) {
  const auto size = static_cast<size_t>(n);
  SmallMatrix lower{};  // a = lower * transpose(lower)
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double rest = a[i][j];
      for (size_t k = 0; k < j; ++k) rest -= lower[i][k] * lower[j][k];
      if (i != j) {
        lower[i][j] = rest / lower[j][j];
      } else if (rest > 0) {
        lower[i][i] = std::sqrt(rest);
      } else {
        return false;
      }
    }
  }
  SmallVector solution{};
  for (size_t i = 0; i < size; ++i) {
    double rest = b[i];
    for (size_t k = 0; k < i; ++k) rest -= lower[i][k] * solution[k];
    solution[i] = rest / lower[i][i];
  }
  for (size_t i = size; i-- > 0;) {
    double rest = solution[i];
    for (size_t k = i + 1; k < size; ++k) rest -= lower[k][i] * solution[k];
    solution[i] = rest / lower[i][i];
    if (!std::isfinite(solution[i])) return false;
  }
  x = solution;
  return true;
}

}  // namespace nibble
