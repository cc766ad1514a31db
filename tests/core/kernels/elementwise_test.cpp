#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "core/kernels/elementwise/dispatch.h"
#include "tests/support/random.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::test;
using elementwise::Kernels;

namespace {

/// Every kernel on odd-sized random arrays (with NaN and both zeros among them); all outputs in one list.
std::vector<uint32_t> run_all(const Kernels& k, int64_t rows, int64_t channels) {
  const int64_t n = rows * channels;
  std::vector<float> x = values_of(normal_tensor({n}, 1, 0.3f)), dy = values_of(normal_tensor({n}, 2));
  const auto coefficients = [&](uint64_t seed) { return values_of(random_tensor({channels}, seed)); };
  const auto a = coefficients(3), b = coefficients(4), c = coefficients(5), mean = coefficients(6);
  std::vector<uint32_t> bits;
  const auto keep = [&](const std::vector<float>& values) {
    for (const float v : values) bits.push_back(std::bit_cast<uint32_t>(v));
  };
  const auto size = static_cast<size_t>(n), width = static_cast<size_t>(channels);
  std::vector<float> y(size), first(width), second(width), third(width);
  k.moments(x.data(), rows, channels, first.data(), second.data(), third.data());
  for (const auto& list : {first, second, third}) keep(list);
  k.products(x.data(), dy.data(), rows, channels, mean.data(), first.data(), second.data());
  for (const auto& list : {first, second}) keep(list);
  k.affine(x.data(), rows, channels, a.data(), b.data(), y.data());
  keep(y);
  k.correct(x.data(), dy.data(), rows, channels, mean.data(), a.data(), b.data(), c.data(), y.data());
  keep(y);
  if (n > 2) {
    x[0] = 0.0f;
    x[1] = -0.0f;
    x[2] = std::bit_cast<float>(0x7fc00000u);
  }
  k.relu(x.data(), y.data(), n);
  keep(y);
  k.add(x.data(), dy.data(), y.data(), n);
  keep(y);
  k.affine_clamp(x.data(), nullptr, rows, channels, a.data(), b.data(), 0.4f, y.data());
  keep(y);
  k.affine_clamp(x.data(), dy.data(), rows, channels, a.data(), b.data(), 0.4f, y.data());
  keep(y);
  k.clamped_products(x.data(), y.data(), dy.data(), rows, channels, mean.data(), 0.4f, y.data(), first.data(),
                     second.data());
  for (const auto& list : {y, first, second}) keep(list);
  k.relu_backward(x.data(), dy.data(), dy.data(), n);
  keep(dy);
  std::vector<int64_t> at;
  for (int64_t row = rows - 1; row >= 0; --row) at.push_back(row * channels);
  for (const int64_t count : {int64_t{1}, (rows + 1) / 2, rows}) {
    k.largest(x.data(), at.data(), count, channels, first.data());
    keep(first);
  }
  return bits;
}

/// The kernels for quantizers on n elements of finite arrays; all outputs in one list.
std::vector<uint64_t> run_quantizing(const Kernels& k, int64_t n) {
  const std::vector<float> x = values_of(normal_tensor({n}, 1, 0.3f)), dy = values_of(normal_tensor({n}, 2));
  std::vector<uint64_t> bits;
  const auto keep = [&](const auto& values) {
    for (const double v : values) bits.push_back(std::bit_cast<uint64_t>(v));
  };
  std::vector<float> y(static_cast<size_t>(n));
  const elementwise::Levels levels{0.31f, 0, -1, 2};
  k.snap(x.data(), levels, y.data(), n);
  keep(y);
  for (const float scale : {1.0f, 0.7f}) {
    k.window(x.data(), dy.data(), scale, -0.2f, 0.9f, y.data(), n);
    keep(y);
  }
  keep(std::vector<double>{k.step_gradient(x.data(), dy.data(), levels, -0.2f, 0.9f, y.data(), n)});
  keep(y);
  std::vector<float> ends(2);
  bits.push_back(k.extremes(x.data(), n, &ends[0], &ends[1]));
  keep(ends);
  const int64_t whole = n / 16 * 16;
  for (const int64_t count : {2, 3, 4, 5, 8}) {
    std::vector<float> steps, thresholds;
    for (int64_t l = 0; l < count; ++l) steps.push_back(static_cast<float>(l) * 0.2f - 0.3f);
    for (int64_t l = 1; l < count; ++l) thresholds.push_back(static_cast<float>(l) * 0.2f - 0.4f);
    std::vector<double> sums(steps.size());
    std::vector<int64_t> counts(steps.size());
    bits.push_back(k.climb(x.data(), dy.data(), {steps.data(), thresholds.data(), count, sums.data(), counts.data()},
                           y.data(), whole));
    keep(y);
    keep(sums);
    for (const int64_t v : counts) bits.push_back(static_cast<uint64_t>(v));
  }
  return bits;
}

/// The definition of Kernels::encode, one element; `inside - code` is exact.
int code_of(float x, const elementwise::Levels& levels) {
  const float u = (x - levels.offset) / levels.scale;
  const float inside = u > levels.lo ? std::min(u, levels.hi) : levels.lo;
  const float even = std::nearbyint(inside);
  return static_cast<int>((levels.up ? std::floor(inside) + (inside - std::floor(inside) >= 0.5f) : even) - levels.lo);
}

}  // namespace

TEST_CASE("elementwise: codes are those of the definition in every variant, with ties, NaN and infinities") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const bool up : {false, true})
    for (const elementwise::Levels& base :
         {elementwise::Levels{0.25f, 0, -128, 127}, elementwise::Levels{0.0173f, -0.4f, 0, 255},
          elementwise::Levels{0.5f, 0.25f, -2, 1}, elementwise::Levels{1e-30f, 0, 0, 3}}) {
      elementwise::Levels levels = base;
      levels.up = up;
      std::vector<float> x{NAN, kInfinity, -kInfinity, 0.0f, -0.0f, 1e-40f, 3e38f, -3e38f};
      for (int i = -150; i < 150; ++i) {
        const float middle = levels.offset + levels.scale * (static_cast<float>(i) + 0.5f);
        for (const float v : {middle, std::nextafter(middle, -kInfinity), std::nextafter(middle, kInfinity)})
          x.push_back(v);
      }
      // Away from ties.
      for (int i = 0; i < 6000; ++i)
        x.push_back(levels.offset +
                    levels.scale * (static_cast<float>(i % 311 - 155) + static_cast<float>(i % 97) / 101));
      std::vector<int> want;
      for (const float v : x) want.push_back(code_of(v, levels));
      for (const auto& variant : elementwise::variants()) {
        if (!cpu::has(variant.needs)) continue;
        CAPTURE(variant.name);
        CAPTURE(up);
        CAPTURE(levels.scale);
        for (const size_t n : {size_t{0}, size_t{1}, size_t{7}, size_t{16}, size_t{33}, x.size()}) {
          std::vector<uint8_t> codes(n + 1, 77);
          variant.fn().encode(x.data(), levels, codes.data(), static_cast<int64_t>(n));
          CHECK(std::vector<int>(codes.begin(), codes.end() - 1) ==
                std::vector<int>(want.begin(), want.begin() + static_cast<std::ptrdiff_t>(n)));
          CHECK(codes[n] == 77);
        }
      }
    }
}

TEST_CASE("elementwise: one value outside the bound, or NaN, is found wherever it stands") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const auto& variant : elementwise::variants()) {
    if (!cpu::has(variant.needs)) continue;
    CAPTURE(variant.name);
    const auto within = variant.fn().within;
    for (size_t n = 0; n <= 37; ++n) {
      std::vector<float> x(n, -2);
      CHECK(within(x.data(), 2, static_cast<int64_t>(n)));
      for (size_t at = 0; at < n; ++at)
        for (const float bad : {NAN, kInfinity, -2.5f, 2.0000002f}) {
          x[at] = bad;
          CHECK(!within(x.data(), 2, static_cast<int64_t>(n)));
          CHECK(within(x.data(), kInfinity, static_cast<int64_t>(n)) == !std::isnan(bad));
          x[at] = 2;
        }
    }
  }
}

TEST_CASE("elementwise: every variant equals scalar, bit for bit") {
  const Kernels& scalar = elementwise::variants().back().fn();
  for (const auto& variant : elementwise::variants()) {
    CAPTURE(variant.name);
    if (!cpu::has(variant.needs)) {
      MESSAGE("not run on this CPU: ", variant.name);
      continue;
    }
    for (const int64_t rows : {1, 2, 3, 7, 33})
      for (const int64_t channels : {1, 2, 3, 4, 7, 8, 16, 19, 24, 37, 64, 87, 150}) {
        CAPTURE(rows);
        CAPTURE(channels);
        CHECK(run_all(variant.fn(), rows, channels) == run_all(scalar, rows, channels));
      }
    for (const int64_t n : {0, 1, 7, 16, 33, 64, 255, 256, 272, 1023}) {
      CAPTURE(n);
      CHECK(run_quantizing(variant.fn(), n) == run_quantizing(scalar, n));
    }
  }
}

TEST_CASE("elementwise: the clamped batch norm is its three steps, forward and backward") {
  constexpr int64_t rows = 37, channels = 21, n = rows * channels;
  const std::vector<float> x = values_of(normal_tensor({n}, 1)), r = values_of(normal_tensor({n}, 2)),
                           dy = values_of(normal_tensor({n}, 3)), a = values_of(random_tensor({channels}, 4)),
                           b = values_of(random_tensor({channels}, 5)), mean = values_of(random_tensor({channels}, 6));
  const auto at = [](int64_t i) { return static_cast<size_t>(i % channels); };
  for (const auto& variant : elementwise::variants()) {
    if (!cpu::has(variant.needs)) continue;
    CAPTURE(variant.name);
    for (const float most : {0.5f, std::numeric_limits<float>::infinity()})
      for (const bool residual : {false, true}) {
        std::vector<float> y(x.size()), g(x.size()), total(a.size()), product(a.size());
        variant.fn().affine_clamp(x.data(), residual ? r.data() : nullptr, rows, channels, a.data(), b.data(), most,
                                  y.data());
        variant.fn().clamped_products(x.data(), y.data(), dy.data(), rows, channels, mean.data(), most, g.data(),
                                      total.data(), product.data());
        std::vector<double> want_total(a.size()), want_product(a.size());
        int wrong = 0;
        for (int64_t i = 0; i < n; ++i) {
          const auto k = static_cast<size_t>(i);
          const float scaled = a[at(i)] * x[k], moved = scaled + b[at(i)], sum = residual ? moved + r[k] : moved;
          const float want = std::min(std::max(sum, 0.0f), most), grad = want > 0 && want < most ? dy[k] : 0;
          wrong += y[k] != want || g[k] != grad;
          want_total[at(i)] += grad;
          want_product[at(i)] += static_cast<double>(grad) * (x[k] - mean[at(i)]);
        }
        CHECK(wrong == 0);
        for (size_t c = 0; c < a.size(); ++c) {
          CHECK(total[c] == doctest::Approx(want_total[c]).epsilon(1e-5));
          CHECK(product[c] == doctest::Approx(want_product[c]).epsilon(1e-5));
        }
      }
  }
}

TEST_CASE("elementwise: steps, windows and their sums are those of the definition, on the bounds, too") {
  const elementwise::Levels levels{0.25f, 0, -2, 5};
  std::vector<float> x, dy;
  for (int i = -30; i < 60; ++i) {
    x.push_back(0.0625f * static_cast<float>(i));
    dy.push_back(0.1f + 0.01f * static_cast<float>(i % 7));
  }
  const auto n = static_cast<int64_t>(x.size());
  for (const auto& variant : elementwise::variants()) {
    if (!cpu::has(variant.needs)) continue;
    CAPTURE(variant.name);
    std::vector<float> y(x.size()), dx(x.size()), other(x.size());
    variant.fn().snap(x.data(), levels, y.data(), n);
    const double sum = variant.fn().step_gradient(x.data(), dy.data(), levels, -1, 5, dx.data(), n);
    variant.fn().window(x.data(), dy.data(), 0.25f, -1, 5, other.data(), n);
    double want = 0;
    int wrong = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const float u = x[i] / 0.25f, code = std::nearbyint(std::clamp(u, -2.0f, 5.0f));
      wrong += y[i] != 0.25f * code || dx[i] != (u >= -1 && u <= 5 ? dy[i] : 0) || other[i] != dx[i];
      want += dy[i] * (u > -2 && u < 5 ? code - u : code);
    }
    CHECK(wrong == 0);
    CHECK(sum == doctest::Approx(want).epsilon(1e-6));
  }
}

TEST_CASE("elementwise: long runs snap to few levels as short ones do, around every tie, for all scales") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr size_t kShort = 96;
  std::vector<float> x(2048 + 5), together(x.size()), apart(x.size());
  for (const auto& variant : elementwise::variants()) {
    if (!cpu::has(variant.needs)) continue;
    CAPTURE(variant.name);
    for (int i = 0; i < 400; ++i) {
      const float scale = std::ldexp(1.0f + static_cast<float>(i) * 0.00249f, i < 100 ? i - 50 : i % 300 - 150);
      const auto lo = static_cast<float>(i % 5 - 3);
      const elementwise::Levels levels{scale, 0, lo, lo + static_cast<float>(1 + i % 4), i % 2 == 0};
      for (size_t k = 0; k < x.size(); ++k) {
        float v = scale * 0.5f * static_cast<float>(static_cast<int>(k / 8 % 20) - 10);
        for (size_t step = 0; step < k % 8 / 2; ++step) v = std::nextafter(v, k % 2 == 0 ? kInfinity : -kInfinity);
        x[k] = v;
      }
      x[7] = std::numeric_limits<float>::quiet_NaN();
      x[8] = kInfinity;
      x[9] = -kInfinity;
      x[10] = -0.0f;
      variant.fn().snap(x.data(), levels, together.data(), static_cast<int64_t>(x.size()));
      for (size_t at = 0; at < x.size(); at += kShort) {
        const auto n = static_cast<int64_t>(std::min(kShort, x.size() - at));
        variant.fn().snap(x.data() + at, levels, apart.data() + at, n);
      }
      CHECK(std::memcmp(together.data(), apart.data(), x.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("elementwise: extremes are found wherever they stand, and what is not finite is told") {
  for (const auto& variant : elementwise::variants()) {
    if (!cpu::has(variant.needs)) continue;
    CAPTURE(variant.name);
    for (size_t n = 1; n <= 150; n += 7)
      for (size_t at = 0; at < n; ++at) {
        std::vector<float> x(n, 0.5f);
        x[at] = at % 2 == 0 ? -3.0f : 4.0f;
        float low = 0, high = 1;
        CHECK(variant.fn().extremes(x.data(), static_cast<int64_t>(n), &low, &high));
        CHECK(low == (at % 2 == 0 ? -3.0f : 0.0f));
        CHECK(high == (at % 2 == 0 ? 1.0f : 4.0f));
        x[at] = at % 3 == 0 ? NAN : at % 3 == 1 ? INFINITY : -INFINITY;
        CHECK(!variant.fn().extremes(x.data(), static_cast<int64_t>(n), &low, &high));
      }
  }
}
