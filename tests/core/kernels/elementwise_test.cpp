#include <bit>
#include <cstdint>
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

}  // namespace

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
