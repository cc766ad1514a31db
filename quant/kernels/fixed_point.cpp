#include "quant/kernels/fixed_point.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace nibble::int8 {
namespace {

constexpr int32_t kMin = std::numeric_limits<int32_t>::min(), kMax = std::numeric_limits<int32_t>::max();

}  // namespace

int32_t srdhm(int32_t a, int32_t b) {
  if (a == kMin && b == kMin) return kMax;
  // The reference adds a nudge of the product's sign and divides towards zero, which comes to this floor.
  return static_cast<int32_t>((int64_t{a} * b + (int64_t{1} << 30)) >> 31);
}

int32_t rdbpot(int32_t x, int32_t e) {
  const auto mask = static_cast<int32_t>((int64_t{1} << e) - 1);
  const int32_t remainder = x & mask, threshold = (mask >> 1) + (x < 0 ? 1 : 0);
  return (x >> e) + (remainder > threshold ? 1 : 0);
}

int32_t saturating_shift_left(int32_t x, int32_t e) {
  return static_cast<int32_t>(std::clamp<int64_t>(int64_t{x} * (int64_t{1} << e), kMin, kMax));
}

int32_t rounding_half_sum(int32_t a, int32_t b) {
  const int64_t sum = int64_t{a} + b;
  return static_cast<int32_t>((sum + (sum >= 0 ? 1 : -1)) / 2);
}

QuantizedMultiplier quantize_multiplier(double value) {
  NIBBLE_CHECK(std::isfinite(value) && value >= 0, "quantize_multiplier: expected a finite value >= 0, got ", value);
  if (value == 0) return {};
  int shift = 0;
  auto q = static_cast<int64_t>(std::round(std::frexp(value, &shift) * 2147483648.0));
  if (q == int64_t{1} << 31) {
    q /= 2;
    ++shift;
  }
  if (shift < -31) return {};
  NIBBLE_CHECK(shift <= 31, "quantize_multiplier: ", value, " needs a shift by ", shift, ", the most is 31");
  return {static_cast<int32_t>(q), shift};
}

int32_t multiply_by_quantized_multiplier(int32_t x, QuantizedMultiplier m) {
  const int32_t left = std::max(m.shift, 0), right = std::max(-m.shift, 0);
  return rdbpot(srdhm(saturating_shift_left(x, left), m.multiplier), right);
}

}  // namespace nibble::int8
