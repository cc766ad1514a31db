#pragma once

#include <cstdint>

/// Fixed-point arithmetic as gemmlowp defines it (Jacob et al. 2018, sec. 2.2 and App. B); the scalar definitions that
/// every kernel equals bit for bit.
namespace nibble::int8 {

/// Saturating rounding doubling high multiply: round(a * b / 2^31), ties towards +infinity; INT32_MAX for
/// INT32_MIN * INT32_MIN.
int32_t srdhm(int32_t a, int32_t b);
/// round(x / 2^e), ties away from zero; 0 <= e <= 31.
int32_t rdbpot(int32_t x, int32_t e);
/// x * 2^e, saturated to 32 bits; 0 <= e <= 31.
int32_t saturating_shift_left(int32_t x, int32_t e);
/// round((a + b) / 2), ties away from zero.
int32_t rounding_half_sum(int32_t a, int32_t b);

/// value ~ multiplier * 2^(shift - 31); multiplier is 0 or in [2^30, 2^31), a positive shift goes to the left.
struct QuantizedMultiplier {
  int32_t multiplier = 0, shift = 0;
};
/// Nearest multiplier of a value >= 0, half away from zero; (0, 0) for 0 and for values below 2^-32. Throws Error if
/// the value is negative, not finite or 2^31 and above.
QuantizedMultiplier quantize_multiplier(double value);
/// rdbpot(srdhm(x * 2^max(shift, 0), multiplier), max(-shift, 0)): two roundings, as in the paper's reference code. The
/// shift to the left saturates. -31 <= shift <= 31.
int32_t multiply_by_quantized_multiplier(int32_t x, QuantizedMultiplier m);

}  // namespace nibble::int8
