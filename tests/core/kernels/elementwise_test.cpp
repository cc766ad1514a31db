#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
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
  k.relu_backward(x.data(), dy.data(), dy.data(), n);
  keep(dy);
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
  }
}
