#include "quant/kernels/fixed_point.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/error.h"
#include "third_party/doctest.h"

namespace nibble::int8 {
namespace {

constexpr int32_t kMin = std::numeric_limits<int32_t>::min(), kMax = std::numeric_limits<int32_t>::max();

int32_t apply(int32_t x, double value) { return multiply_by_quantized_multiplier(x, quantize_multiplier(value)); }

TEST_CASE("fixed point: the high multiply of spec section 3.1") {
  CHECK(srdhm(1 << 30, 1 << 30) == 1 << 29);
  CHECK(srdhm(3, 1 << 30) == 2);
  CHECK(srdhm(1, 1 << 30) == 1);
  CHECK(srdhm(-1, 1 << 30) == 0);
  CHECK(srdhm(-3, 1 << 30) == -1);
  CHECK(srdhm(5, 1 << 30) == 3);
  CHECK(srdhm(-5, 1 << 30) == -2);
  CHECK(srdhm(kMin, kMin) == kMax);
  CHECK(srdhm(kMin, kMax) == -kMax);
  CHECK(srdhm(1000, 1518500250) == 707);
  CHECK(srdhm(-1000, 1518500250) == -707);
  CHECK(srdhm(123456, 1717986918) == 98765);
  CHECK(srdhm(-123456, 1717986918) == -98765);
}

TEST_CASE("fixed point: the high multiply equals gemmlowp's nudge and truncating division") {
  std::mt19937 random(1);
  for (int i = 0; i < 100000; ++i) {
    const int32_t a = static_cast<int32_t>(random()) >> (random() % 30), b = static_cast<int32_t>(random());
    const int64_t p = int64_t{a} * b, nudge = p >= 0 ? int64_t{1} << 30 : 1 - (int64_t{1} << 30);
    REQUIRE(srdhm(a, b) == (p + nudge) / (int64_t{1} << 31));
  }
}

TEST_CASE("fixed point: the rounding division of spec section 3.2") {
  struct Row {
    int32_t x, e, want;
  };
  for (const Row& r : {Row{12, 3, 2},
                       {-12, 3, -2},
                       {11, 3, 1},
                       {-11, 3, -1},
                       {13, 3, 2},
                       {-13, 3, -2},
                       {4, 3, 1},
                       {-4, 3, -1},
                       {3, 1, 2},
                       {-3, 1, -2},
                       {5, 0, 5},
                       {100, 4, 6},
                       {-100, 4, -6},
                       {104, 4, 7},
                       {-104, 4, -7},
                       {kMin, 31, -1},
                       {kMax, 31, 1},
                       {-(1 << 30), 31, -1},
                       {1 << 30, 31, 1}}) {
    CAPTURE(r.x);
    CAPTURE(r.e);
    CHECK(rdbpot(r.x, r.e) == r.want);
  }
}

TEST_CASE("fixed point: multipliers of spec section 3.3") {
  struct Row {
    double value;
    int32_t multiplier, shift;
  };
  for (const Row& r : {Row{0.5, 1073741824, 0},
                       {0.25, 1073741824, -1},
                       {1.0, 1073741824, 1},
                       {2.75, 1476395008, 2},
                       {0.3, 1288490189, -1},
                       {1.0 / 3, 1431655765, -1},
                       {0.001, 1099511628, -9},
                       {0.007247427341846, 1992157658, -7},
                       {0.9999999999, 1073741824, 1},
                       {3e-10, 1383505806, -31},
                       {1e-10, 0, 0},
                       {0, 0, 0}}) {
    CAPTURE(r.value);
    CHECK(quantize_multiplier(r.value).multiplier == r.multiplier);
    CHECK(quantize_multiplier(r.value).shift == r.shift);
  }
  CHECK_THROWS_AS(quantize_multiplier(-1), Error);
  CHECK_THROWS_AS(quantize_multiplier(std::nan("")), Error);
  CHECK_THROWS_AS(quantize_multiplier(INFINITY), Error);
  CHECK_THROWS_AS(quantize_multiplier(5e9), Error);
}

TEST_CASE("fixed point: two roundings where one would give another answer (spec section 3.3)") {
  struct Row {
    int32_t x, multiplier, shift, high, want;
  };
  for (const Row& r : {Row{1, 1610612736, -1, 1, 1},
                       {-1, 1610612736, -1, -1, -1},
                       {3546, 1278973861, -7, 2112, 17},
                       {-29252, 1333154864, -5, -18160, -568},
                       {1887, 1183552977, -5, 1040, 33},
                       {1564, 1581288872, -8, 1152, 5}}) {
    CAPTURE(r.x);
    CHECK(srdhm(r.x, r.multiplier) == r.high);
    CHECK(multiply_by_quantized_multiplier(r.x, {r.multiplier, r.shift}) == r.want);
  }
  CHECK(apply(1000, 0.3) == 300);
  CHECK(apply(-1000, 0.3) == -300);
  CHECK(apply(5, 0.3) == 2);
  CHECK(apply(25, 0.1) == 3);
  CHECK(apply(-25, 0.1) == -3);
  CHECK(apply(35, 0.1) == 4);
  CHECK(apply(-35, 0.1) == -4);
  CHECK(apply(12345, 0.007247427341846) == 89);
  CHECK(apply(-12345, 0.007247427341846) == -89);
  CHECK(apply(100, 2.75) == 275);
  CHECK(apply(kMax, 4) == 1 << 30);  // the shift by 3 saturates before the multiplication by 1/2
  CHECK(apply(kMin, 4) == -(1 << 30));
}

TEST_CASE("fixed point: the layer of spec section 2.5") {
  const int weights[2][3] = {{200, 13, 77}, {128, 255, 0}}, x[3][2] = {{10, 200}, {0, 255}, {90, 30}};
  const int bias[2] = {1500, -370}, want[2][2] = {{0, 0}, {0, 255}}, clamped[2][2] = {{5, 5}, {5, 155}};
  const QuantizedMultiplier m = quantize_multiplier(0.02 * 0.05 / 0.04);
  CHECK(m.multiplier == 1717986918);
  CHECK(m.shift == -5);
  for (int i = 0; i < 2; ++i)
    for (int k = 0; k < 2; ++k) {
      int32_t acc = bias[i];
      for (int j = 0; j < 3; ++j) acc += (weights[i][j] - 128) * (x[j][k] - 10);
      const int32_t code = multiply_by_quantized_multiplier(acc, m) + 5;
      CHECK(std::clamp(code, 0, 255) == want[i][k]);
      CHECK(std::clamp(code, 5, 155) == clamped[i][k]);
    }
}

TEST_CASE("fixed point: helpers saturate and round half away") {
  CHECK(saturating_shift_left(3, 2) == 12);
  CHECK(saturating_shift_left(1 << 30, 1) == kMax);
  CHECK(saturating_shift_left(-(1 << 30), 1) == kMin);
  CHECK(saturating_shift_left(-(1 << 30) - 1, 1) == kMin);
  CHECK(saturating_shift_left(0, 31) == 0);
  CHECK(rounding_half_sum(3, 4) == 4);
  CHECK(rounding_half_sum(-3, -4) == -4);
  CHECK(rounding_half_sum(kMax, kMax) == kMax);
  CHECK(rounding_half_sum(kMin, kMin) == kMin);
}

}  // namespace
}  // namespace nibble::int8
