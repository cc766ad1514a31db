#pragma once

#include <cstdint>
#include <span>

/// Exponential, logistic, tanh and softmax in integers only, without tables (Jacob et al. 2018, App. A.1, after
/// gemmlowp's fixedpoint.h). Qm: a 32-bit number with m integer bits, that is 31 - m fractional ones.
namespace nibble::int8 {

/// exp(a) in Q0 for a <= 0 in Q`integer_bits` (0..29); INT32_MAX for a = 0.
int32_t exp_on_negative(int32_t a, int integer_bits);
/// 1 / (1 + a) in Q0, for a >= 0 in Q0.
int32_t one_over_one_plus(int32_t a);
/// 1 / (1 + exp(-a)) in Q0, a in Q4.
int32_t logistic_q4(int32_t a);
/// tanh(a) in Q0, a in Q4.
int32_t tanh_q4(int32_t a);

/// Logistic and tanh of one input code with real value scale * (q - zero). The output has scale 1/256 and zero point 0
/// (logistic), 1/128 and 128 (tanh). Throw Error unless 2^-27 <= scale < 8 and 0 <= zero <= 255.
uint8_t logistic_code(uint8_t q, double scale, int32_t zero);
uint8_t tanh_code(uint8_t q, double scale, int32_t zero);

/// y = softmax(beta * scale * x) over one row of codes; output scale 1/256, zero point 0. y may be x. Throws Error if
/// the row is empty or has more than 4095 entries, sizes differ, or beta * scale is not in [2^-26, 2^6].
void softmax_codes(std::span<const uint8_t> x, double scale, std::span<uint8_t> y, double beta = 1);

}  // namespace nibble::int8
