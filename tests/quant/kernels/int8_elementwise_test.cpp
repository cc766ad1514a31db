#include "quant/kernels/int8_elementwise/int8_elementwise.h"

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/kernels/int8_gemm/dispatch.h"
#include "tests/quant/kernels/int8_reference.h"
#include "third_party/doctest.h"

namespace nibble::int8 {
namespace {

using test::random_codes;

/// Spec section 4.2, one element.
int reference_add(const Int8AddSpec& s, int a, int b) {
  double v;
  if (s.real) {
    volatile float first = static_cast<float>(a - s.a_zero) * static_cast<float>(s.a_scale);
    volatile float second = static_cast<float>(b - s.b_zero) * static_cast<float>(s.b_scale);
    volatile float sum = first + second;
    v = std::nearbyint(double{sum / static_cast<float>(s.out_scale)});
  } else {
    const double twice = 2 * std::max(s.a_scale, s.b_scale);
    const int32_t va =
        multiply_by_quantized_multiplier((a - s.a_zero) * (1 << 20), quantize_multiplier(s.a_scale / twice));
    const int32_t vb =
        multiply_by_quantized_multiplier((b - s.b_zero) * (1 << 20), quantize_multiplier(s.b_scale / twice));
    v = multiply_by_quantized_multiplier(va + vb, quantize_multiplier(twice / ((1 << 20) * s.out_scale)));
  }
  return static_cast<int>(std::clamp(v + s.out_zero, double(s.lo), double(s.hi)));
}

TEST_CASE("int8 add: the examples of spec section 4.2") {
  const auto one = [](const Int8AddSpec& s, int a, int b) {
    const auto p = static_cast<uint8_t>(a), q = static_cast<uint8_t>(b);
    uint8_t y = 0;
    Int8Add(s).run(&p, &q, &y, 1);
    return int{y};
  };
  const Int8AddSpec s{
      .a_scale = 0.05, .b_scale = 0.03, .out_scale = 0.06, .a_zero = 128, .b_zero = 10, .out_zero = 100};
  CHECK(one(s, 200, 30) == 170);
  CHECK(one(s, 5, 250) == 118);
  const Int8AddSpec same{.a_scale = 0.1, .b_scale = 0.1, .out_scale = 0.1};
  CHECK(one(same, 255, 255) == 255);
  CHECK(one(same, 100, 50) == 150);
}

TEST_CASE("int8 add: every variant equals the definition for all pairs of codes") {
  std::vector<uint8_t> a(65536), b(65536), want(65536);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<uint8_t>(i >> 8), b[i] = static_cast<uint8_t>(i);
  for (const Int8AddSpec& base :
       {Int8AddSpec{.a_scale = 0.05, .b_scale = 0.03, .out_scale = 0.06, .a_zero = 128, .b_zero = 10, .out_zero = 100},
        Int8AddSpec{.a_scale = 0.03, .b_scale = 0.05, .out_scale = 0.001, .out_zero = 255, .lo = 3, .hi = 250},
        Int8AddSpec{.a_scale = 1e-4, .b_scale = 2, .out_scale = 1, .a_zero = 255, .b_zero = 255},
        Int8AddSpec{.a_scale = 1, .b_scale = 0.5, .out_scale = 2, .a_zero = 7, .out_zero = 128},
        Int8AddSpec{.a_scale = 500, .b_scale = 499, .out_scale = 1e-6, .a_zero = 7, .out_zero = 128},
        Int8AddSpec{.a_scale = 1e-6, .b_scale = 1e-6, .out_scale = 500}})
    for (const bool real : {false, true}) {
      Int8AddSpec s = base;
      s.real = real;
      for (size_t i = 0; i < a.size(); ++i) want[i] = static_cast<uint8_t>(reference_add(s, a[i], b[i]));
      for (const auto& v : gemm_variants()) {
        if (!cpu::has(v.needs)) continue;
        CAPTURE(v.name);
        CAPTURE(s.out_scale);
        CAPTURE(real);
        std::vector<uint8_t> y(a.size());
        Int8Add(s, v.name).run(a.data(), b.data(), y.data(), 65536);
        CHECK((y == want));
      }
    }
}

TEST_CASE("int8 add: what is computed as one multiply-add equals the definition for all pairs of codes") {
  std::mt19937 random(3);
  const auto uniform = [&](double lo, double hi) { return lo + (hi - lo) * (random() % 100003) / 100003; };
  std::vector<uint8_t> a(65536), b(65536), want(65536), y(65536);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<uint8_t>(i >> 8), b[i] = static_cast<uint8_t>(i);
  constexpr int kSpecs = 24;
  std::map<std::string, int> lines;
  for (int n = 0; n < kSpecs; ++n) {
    Int8AddSpec s{.a_scale = uniform(0.5, 2), .b_scale = uniform(0.5, 2), .out_scale = uniform(1, 3)};
    s.real = n % 3 == 0;
    s.a_zero = static_cast<int32_t>(random() % 256), s.b_zero = static_cast<int32_t>(n % 2 * 128);
    s.out_zero = static_cast<int32_t>(n % 4 < 2 ? 0 : random() % 256);
    CAPTURE(n);
    for (size_t i = 0; i < a.size(); ++i) want[i] = static_cast<uint8_t>(reference_add(s, a[i], b[i]));
    for (const auto& v : gemm_variants()) {
      if (!cpu::has(v.needs)) continue;
      CAPTURE(v.name);
      const Int8Add add(s, v.name);
      lines[v.name] += add.is_line();
      add.run(a.data(), b.data(), y.data(), 65536);
      CHECK((y == want));
    }
  }
  for (const auto& v : gemm_variants()) {
    if (!cpu::has(v.needs) || v.fn().add_line == nullptr) continue;
    CAPTURE(v.name);
    CHECK(lines[v.name] >= kSpecs * 3 / 4);
  }
}

TEST_CASE("int8 add: odd lengths, in place, one and two threads") {
  const Int8AddSpec s{
      .a_scale = 0.05, .b_scale = 0.03, .out_scale = 0.06, .a_zero = 128, .b_zero = 10, .out_zero = 100};
  const int before = threads();
  for (const auto& v : gemm_variants()) {
    if (!cpu::has(v.needs)) continue;
    const Int8Add add(s, v.name);
    for (const int64_t n : {0, 1, 3, 15, 16, 17, 63, 64, 65, 130, 70001}) {
      set_threads(n % 2 == 0 ? 1 : 2);
      CAPTURE(v.name);
      CAPTURE(n);
      std::vector<uint8_t> a = random_codes(n, 1), want(a.size());
      const std::vector<uint8_t> b = random_codes(n, 2);
      for (size_t i = 0; i < a.size(); ++i) want[i] = static_cast<uint8_t>(reference_add(s, a[i], b[i]));
      add.run(a.data(), b.data(), a.data(), n);
      CHECK((a == want));
    }
  }
  set_threads(before);
  CHECK_THROWS_AS(Int8Add({.a_scale = 0}), Error);
  CHECK_THROWS_AS(Int8Add({.b_scale = std::nan("")}), Error);
  CHECK_THROWS_AS(Int8Add({.out_scale = 1e-20}), Error);
  CHECK_THROWS_AS(Int8Add({.a_zero = 256}), Error);
  CHECK_THROWS_AS(Int8Add({.lo = 4, .hi = 3}), Error);
}

TEST_CASE("int8 pool: the averages of spec section 4.4") {
  const auto mean = [](const std::vector<uint8_t>& x) {
    uint8_t y = 0;
    Int8Pool({.average = true, .global = true}).run(x.data(), 1, 1, static_cast<int64_t>(x.size()), 1, &y);
    return int{y};
  };
  CHECK(mean({1, 2}) == 2);
  CHECK(mean({1, 2, 3, 4}) == 3);
  CHECK(mean({255, 254, 254}) == 254);
  CHECK(mean({0, 0, 0, 1}) == 0);
  CHECK(mean({0, 0, 1, 1}) == 1);
}

TEST_CASE("int8 pool: windows, strides and borders, where taps outside do not count") {
  const int64_t batch = 2, h = 7, w = 6;
  for (const int64_t c : {1, 5, 64, 130})
    for (Int8PoolSpec s : {Int8PoolSpec{.kh = 2, .kw = 2, .stride_h = 2, .stride_w = 2},
                           {.kh = 3,
                           .kw = 3,
                           .stride_h = 2,
                           .stride_w = 2,
                           .pad_top = 1,
                           .pad_left = 1,
                           .pad_bottom = 1,
                           .pad_right = 1},
                           {.kh = 3,
                           .kw = 2,
                           .stride_h = 1,
                           .stride_w = 3,
                           .pad_top = 2,
                           .pad_left = 0,
                           .pad_bottom = 0,
                           .pad_right = 1}})
      for (const bool is_average : {false, true}) {
        s.average = is_average;
        const Int8Pool pool(s);
        const int64_t oh = pool.output_h(h), ow = pool.output_w(w);
        const std::vector<uint8_t> x = random_codes(batch * h * w * c, 3);
        std::vector<uint8_t> y(static_cast<size_t>(batch * oh * ow * c)), want;
        std::vector<int32_t> total(y.size()), want_total;
        for (int64_t n = 0; n < batch; ++n)
          for (int64_t p = 0; p < oh; ++p)
            for (int64_t q = 0; q < ow; ++q)
              for (int64_t k = 0; k < c; ++k) {
                int acc = 0, most = 0, taps = 0;
                for (int64_t r = p * s.stride_h - s.pad_top; r < p * s.stride_h - s.pad_top + s.kh; ++r)
                  for (int64_t t = q * s.stride_w - s.pad_left; t < q * s.stride_w - s.pad_left + s.kw; ++t) {
                    if (r < 0 || r >= h || t < 0 || t >= w) continue;
                    const int v = x[static_cast<size_t>(((n * h + r) * w + t) * c + k)];
                    acc += v, most = std::max(most, v), ++taps;
                  }
                want.push_back(static_cast<uint8_t>(is_average ? (acc + taps / 2) / taps : most));
                want_total.push_back(acc);
              }
        pool.run(x.data(), batch, h, w, c, y.data());
        CHECK((y == want));
        pool.run_sums(x.data(), batch, h, w, c, total.data());
        CHECK((total == want_total));
      }
  CHECK_THROWS_AS(Int8Pool({.kh = 0}), Error);
  CHECK_THROWS_AS(Int8Pool({.kh = 2, .pad_top = 2}), Error);
  CHECK_THROWS_AS(Int8Pool({.average = true, .kh = 1 << 12, .kw = 1 << 12}), Error);
}

TEST_CASE("int8 tables: requantization between grids, and between equal ones a copy") {
  const CodeTable same = requantize_table(0.1, 7, 0.1, 7), other = requantize_table(0.1, 128, 0.3, 10, 5, 40);
  for (int q = 0; q < 256; ++q) {
    CHECK(same[static_cast<size_t>(q)] == q);
    CHECK(other[static_cast<size_t>(q)] ==
          std::clamp(multiply_by_quantized_multiplier(q - 128, quantize_multiplier(0.1 / 0.3)) + 10, 5, 40));
  }
  CHECK_THROWS_AS(requantize_table(0, 0, 1, 0), Error);
  CHECK_THROWS_AS(requantize_table(1, 0, 1, 256), Error);
  const std::vector<uint8_t> x = random_codes(40000, 6);
  std::vector<uint8_t> y(x.size());
  apply_table(other, x.data(), y.data(), 40000);
  for (size_t i = 0; i < x.size(); ++i) REQUIRE(y[i] == other[x[i]]);
}

TEST_CASE("int8 concat: copies channels, through a table where a grid differs") {
  const CodeTable table = requantize_table(0.1, 128, 0.3, 10);
  const int64_t pixels = 37;
  const std::vector<uint8_t> a = random_codes(pixels * 5, 1), b = random_codes(pixels * 16, 2);
  const ConcatInput inputs[] = {{a.data(), 5, nullptr}, {b.data(), 16, &table}};
  std::vector<uint8_t> y(static_cast<size_t>(pixels * 21));
  concat_channels(inputs, pixels, y.data());
  for (size_t p = 0; p < 37; ++p)
    for (size_t c = 0; c < 21; ++c) REQUIRE(y[p * 21 + c] == (c < 5 ? a[p * 5 + c] : table[b[p * 16 + c - 5]]));
}

}  // namespace
}  // namespace nibble::int8
