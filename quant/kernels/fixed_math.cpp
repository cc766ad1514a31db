#include "quant/kernels/fixed_math.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "quant/kernels/fixed_point.h"

namespace nibble::int8 {
namespace {

constexpr int32_t kOne = std::numeric_limits<int32_t>::max();  // 1 in Q0

/// From Qa to Qb.
int32_t rescale(int32_t x, int from, int to) {
  return from >= to ? saturating_shift_left(x, from - to) : rdbpot(x, to - from);
}

/// exp(a) for -1/4 <= a < 0 in Q0: a Taylor series around -1/8.
int32_t exp_on_interval(int32_t a) {
  constexpr int32_t kExpEighth = 1895147668;  // round(2^31 exp(-1/8))
  constexpr int32_t kThird = 715827883;       // round(2^31 / 3)
  const int32_t x = a + (1 << 28);
  const int32_t x2 = srdhm(x, x), x3 = srdhm(x2, x), x4 = srdhm(x2, x2);
  const int32_t tail = rdbpot(srdhm(rdbpot(x4, 2) + x3, kThird) + x2, 1);
  return kExpEighth + srdhm(kExpEighth, x + tail);
}

/// 2 / (1 + a) in Q2 for a >= 0 in Q0: Newton's division from the line 48/17 - 32/17 * (1 + a) / 2.
int32_t two_over_one_plus(int32_t a) {
  constexpr int32_t k48Over17 = 1515870810, kMinus32Over17 = -1010580540;  // Q2
  const int32_t half = rounding_half_sum(a, kOne);
  int32_t x = k48Over17 + srdhm(half, kMinus32Over17);
  for (int i = 0; i < 3; ++i) x += saturating_shift_left(srdhm(x, (1 << 29) - srdhm(half, x)), 2);
  return x;
}

int32_t magnitude(int32_t a) { return a == std::numeric_limits<int32_t>::min() ? kOne : std::abs(a); }

/// The input of logistic_code and tanh_code in Q4, or the sign of a value beyond +-15, where both are constant.
struct Q4Input {
  int32_t value = 0;
  int beyond = 0;
};
Q4Input to_q4(uint8_t q, double scale, int32_t zero) {
  NIBBLE_CHECK(scale >= 0x1p-27 && scale < 8, "logistic, tanh: input scale ", scale, " is not in [2^-27, 8)");
  NIBBLE_CHECK(zero >= 0 && zero <= 255, "logistic, tanh: input zero point ", zero, " is not in 0..255");
  const QuantizedMultiplier m = quantize_multiplier(scale * 0x1p27);
  const double radius = std::floor(15 * 0x1p27 / std::ldexp(1, m.shift));
  const int32_t centred = q - zero;
  if (centred <= -radius) return {0, -1};
  if (centred >= radius) return {0, 1};
  return {srdhm(saturating_shift_left(centred, m.shift), m.multiplier), 0};
}

}  // namespace

int32_t exp_on_negative(int32_t a, int integer_bits) {
  if (a == 0) return kOne;
  const int fraction_bits = 31 - integer_bits;
  const int32_t quarter = 1 << (fraction_bits - 2);
  const int32_t within = (a & (quarter - 1)) - quarter;
  // exp(-2^k) for k = -2 .. 4
  constexpr int32_t kFactors[] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
  int32_t result = exp_on_interval(rescale(within, integer_bits, 0));
  const int32_t rest = within - a;
  for (int k = -2; k <= 4; ++k)
    if (integer_bits > k && ((rest >> (fraction_bits + k)) & 1)) result = srdhm(result, kFactors[k + 2]);
  if (integer_bits > 5 && a < -(int64_t{1} << (36 - integer_bits))) return 0;
  return result;
}

int32_t one_over_one_plus(int32_t a) { return saturating_shift_left(two_over_one_plus(a), 1); }

int32_t logistic_q4(int32_t a) {
  if (a == 0) return 1 << 30;
  const int32_t y = one_over_one_plus(exp_on_negative(-magnitude(a), 4));
  return a > 0 ? y : kOne - y;
}

int32_t tanh_q4(int32_t a) {
  if (a == 0) return 0;
  // The raw value read as Q5 is twice the one in Q4: tanh(a) = (1 - exp(-2a)) / (1 + exp(-2a)).
  const int32_t e = exp_on_negative(-magnitude(a), 5);
  const int32_t y = saturating_shift_left(two_over_one_plus(e) - (1 << 29), 2);
  return a > 0 ? y : -y;
}

uint8_t logistic_code(uint8_t q, double scale, int32_t zero) {
  const Q4Input in = to_q4(q, scale, zero);
  if (in.beyond != 0) return in.beyond < 0 ? 0 : 255;
  return static_cast<uint8_t>(std::min(rdbpot(logistic_q4(in.value), 23), 255));
}

uint8_t tanh_code(uint8_t q, double scale, int32_t zero) {
  const Q4Input in = to_q4(q, scale, zero);
  if (in.beyond != 0) return in.beyond < 0 ? 0 : 255;
  return static_cast<uint8_t>(std::min(rdbpot(tanh_q4(in.value), 24) + 128, 255));
}

void softmax_codes(std::span<const uint8_t> x, double scale, std::span<uint8_t> y, double beta) {
  NIBBLE_CHECK(x.size() == y.size() && !x.empty() && x.size() <= 4095, "softmax: a row has ", x.size(), " codes and ",
               y.size(), " outputs, expected 1 to 4095 of each (the sum is a Q12)");
  NIBBLE_CHECK(beta * scale >= 0x1p-26 && beta * scale <= 64, "softmax: beta * scale ", beta * scale,
               " is not in [2^-26, 64]");
  const QuantizedMultiplier m = quantize_multiplier(std::min(beta * scale * 0x1p26, 0x1p31 - 1));
  const double lowest = -std::floor(31 * 0x1p26 / std::ldexp(1, m.shift));
  const int32_t top = *std::ranges::max_element(x);
  int32_t e[256] = {};  // Q0, by the difference to the largest code
  for (int32_t d = 0; d < 256 && -d >= lowest; ++d)
    e[d] = exp_on_negative(srdhm(saturating_shift_left(-d, m.shift), m.multiplier), 5);
  int32_t sum = 0;  // Q12
  for (const uint8_t q : x) sum += rdbpot(e[top - q], 12);
  const int zeros = std::countl_zero(static_cast<uint32_t>(sum)), over = 12 - zeros;
  const auto a = static_cast<int32_t>((static_cast<uint32_t>(sum) << zeros) - (1u << 31));
  const int32_t inverse = one_over_one_plus(a);
  for (size_t i = 0; i < x.size(); ++i) {
    const int32_t product = srdhm(inverse, e[top - x[i]]), shift = over + 31 - 8;
    y[i] = static_cast<uint8_t>(shift > 31 ? 0 : std::clamp(rdbpot(product, shift), 0, 255));
  }
}

}  // namespace nibble::int8
