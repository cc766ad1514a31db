#include "quant/kernels/fixed_math.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "third_party/doctest.h"

namespace nibble::int8 {
namespace {

std::vector<int> softmax_of(std::vector<uint8_t> x, double scale) {
  softmax_codes(x, scale, x);
  return {x.begin(), x.end()};
}

TEST_CASE("fixed math: exp, logistic and tanh of spec section 4.6, to the bit") {
  CHECK(exp_on_negative(-671089, 5) == 2126115494);
  CHECK(exp_on_negative(-16777216, 5) == 1672462419);
  CHECK(exp_on_negative(-33554432, 5) == 1302515042);
  CHECK(exp_on_negative(-67108864, 5) == 790015308);
  CHECK(exp_on_negative(-154350387, 5) == 215304224);
  CHECK(exp_on_negative(-530160026, 5) == 796166);
  CHECK(exp_on_negative(-1067030938, 5) == 267);
  CHECK(exp_on_negative(0, 5) == 2147483647);
  CHECK(logistic_q4(134217728) == 1569936226);
  CHECK(logistic_q4(-134217728) == 577547421);
  CHECK(logistic_q4(805306368) == 2142173734);
  CHECK(logistic_q4(-805306368) == 5309913);
  CHECK(logistic_q4(13421773) == 1127384220);
  CHECK(logistic_q4(-13421773) == 1020099427);
  CHECK(logistic_q4(0) == 1 << 30);
  for (const int sign : {1, -1}) {
    CHECK(tanh_q4(sign * 134217728) == sign * 1635510876);
    CHECK(tanh_q4(sign * 805306368) == sign * 2147457264);
    CHECK(tanh_q4(sign * 13421773) == sign * 214035364);
  }
}

TEST_CASE("fixed math: exp is close to exp for every number of integer bits") {
  for (int bits = 0; bits <= 10; ++bits) {
    CAPTURE(bits);
    for (double a = -0.001; a > -std::ldexp(1, bits) && a > -30; a *= 1.37) {
      const auto raw = static_cast<int32_t>(std::ldexp(a, 31 - bits));
      const double exact = std::exp(std::ldexp(raw, bits - 31));
      CHECK(std::abs(exp_on_negative(raw, bits) * 0x1p-31 - exact) < 5e-7);
    }
  }
  CHECK(exp_on_negative(-(1 << 24), 10) != 0);                  // -8
  CHECK(exp_on_negative(-(33 << 21), 10) == 0);                 // -33
  CHECK(exp_on_negative(-2147483647 - 1, 5) < 2147483647 / 2);  // -32 does not wrap
}

TEST_CASE("fixed math: one over one plus is close to the quotient") {
  for (double a = 0; a < 1; a += 0.01)
    CHECK(one_over_one_plus(static_cast<int32_t>(a * 0x1p31)) * 0x1p-31 == doctest::Approx(1 / (1 + a)).epsilon(1e-7));
}

TEST_CASE("fixed math: logistic and tanh of codes, spec section 4.6") {
  const int q[] = {0, 64, 100, 127, 128, 129, 140, 200, 255};
  const int logistic[] = {0, 5, 38, 124, 128, 132, 174, 253, 255}, tanh[] = {0, 0, 8, 120, 128, 136, 209, 255, 255};
  for (size_t i = 0; i < std::size(q); ++i) {
    CHECK(logistic_code(static_cast<uint8_t>(q[i]), 1.0 / 16, 128) == logistic[i]);
    CHECK(tanh_code(static_cast<uint8_t>(q[i]), 1.0 / 16, 128) == tanh[i]);
  }
  double worst_logistic = 0, worst_tanh = 0;
  for (int code = 0; code < 256; ++code) {
    const double r = (code - 128) / 16.0;
    const double l = std::min(256 / (1 + std::exp(-r)), 255.0), t = std::clamp(128 * std::tanh(r) + 128, 0.0, 255.0);
    worst_logistic = std::max(worst_logistic, std::abs(logistic_code(static_cast<uint8_t>(code), 1.0 / 16, 128) - l));
    worst_tanh = std::max(worst_tanh, std::abs(tanh_code(static_cast<uint8_t>(code), 1.0 / 16, 128) - t));
  }
  CHECK(worst_logistic == doctest::Approx(0.497).epsilon(0.002));
  CHECK(worst_tanh == doctest::Approx(0.496).epsilon(0.002));
}

TEST_CASE("fixed math: logistic and tanh are within a code of the exact value on many grids") {
  for (const double scale : {0.001, 0.02, 0.0977, 0.3, 1.0, 7.9})
    for (const int zero : {0, 3, 128, 255})
      for (int code = 0; code < 256; ++code) {
        CAPTURE(scale);
        CAPTURE(code);
        const double r = scale * (code - zero);
        const double l = std::min(256 / (1 + std::exp(-r)), 255.0);
        const double t = std::clamp(128 * std::tanh(r) + 128, 0.0, 255.0);
        CHECK(std::abs(logistic_code(static_cast<uint8_t>(code), scale, zero) - l) < 0.51);
        CHECK(std::abs(tanh_code(static_cast<uint8_t>(code), scale, zero) - t) < 0.51);
      }
  CHECK_THROWS_AS(logistic_code(0, 8, 0), Error);
  CHECK_THROWS_AS(tanh_code(0, 0.1, 256), Error);
}

TEST_CASE("fixed math: softmax of spec section 4.6") {
  CHECK(softmax_of({10, 20, 30, 40}, 0.1) == std::vector<int>{8, 22, 61, 165});
  CHECK(softmax_of({0, 255, 128, 200, 254}, 0.05) == std::vector<int>{0, 127, 0, 8, 121});
  CHECK(softmax_of(std::vector<uint8_t>(10, 77), 0.3) == std::vector<int>(10, 26));
  CHECK(softmax_of({9}, 0.1) == std::vector<int>{255});
}

TEST_CASE("fixed math: softmax of long rows and extreme scales stays within a code") {
  for (const size_t n : {2u, 100u, 1000u, 4095u})
    for (const double scale : {0.001, 0.04, 1.0, 60.0}) {
      CAPTURE(n);
      CAPTURE(scale);
      std::vector<uint8_t> x(n), y(n);
      for (size_t i = 0; i < n; ++i) x[i] = static_cast<uint8_t>(i * 97 % 251);
      softmax_codes(x, scale, y);
      double sum = 0;
      const double top = *std::ranges::max_element(x);
      for (const uint8_t q : x) sum += std::exp(scale * (q - top));
      for (size_t i = 0; i < n; ++i)
        CHECK(std::abs(y[i] - std::min(256 * std::exp(scale * (x[i] - top)) / sum, 255.0)) < 0.55);
    }
  std::vector<uint8_t> none, many(5000);
  CHECK_THROWS_AS(softmax_codes(none, 0.1, none), Error);
  CHECK_THROWS_AS(softmax_codes(many, 0.1, many), Error);
  std::vector<uint8_t> one(1);
  CHECK_THROWS_AS(softmax_codes(one, 100, one), Error);
}

}  // namespace
}  // namespace nibble::int8
