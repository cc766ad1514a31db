#include "quant/kernels/int8_conv/runs.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "third_party/doctest.h"

namespace nibble::int8::detail {
namespace {

/// Adds the steps up again and looks for sums of products that leave 16 bits, with the worst codes for each.
void check_runs(const std::vector<int32_t>& weights, int64_t width) {
  const PackedRuns packed = pack_runs(weights, width);
  const auto values = static_cast<size_t>(4 * width);
  REQUIRE(packed.weights.size() == packed.quads.size() * values);
  std::vector<int32_t> total(weights.size(), 0);
  size_t step = 0;
  bool within = true;
  for (size_t i = 0; i < packed.runs.size(); ++i) {
    CHECK(packed.runs[i].length > 0);
    CHECK((i == 0 || packed.runs[i].length < packed.runs[i - 1].length));
    for (int32_t n = 0; n < packed.runs[i].count; ++n) {
      std::vector<int32_t> most(values / 2, 0), least(values / 2, 0);
      for (int32_t s = 0; s < packed.runs[i].length; ++s, ++step) {
        REQUIRE(step < packed.quads.size());
        for (size_t j = 0; j < values; ++j) {
          const int32_t w = packed.weights[step * values + j];
          total[static_cast<size_t>(packed.quads[step]) * values + j] += w;
          (w > 0 ? most : least)[j / 2] += 255 * w;
        }
      }
      for (size_t j = 0; j < most.size(); ++j) within = within && most[j] <= 32767 && least[j] >= -32768;
    }
  }
  CHECK(step == packed.quads.size());
  CHECK(within);
  CHECK((total == weights));
}

TEST_CASE("int8 runs: steps add up to the weights, and no sum of a run can leave 16 bits") {
  std::mt19937 random(1);
  for (const int64_t width : {4, 8, 16})
    for (const double deviation : {0.1, 3.0, 25.0, 60.0, 300.0}) {
      CAPTURE(width);
      CAPTURE(deviation);
      std::normal_distribution<double> normal(0, deviation);
      std::vector<int32_t> weights(static_cast<size_t>(50 * 4 * width));
      for (int32_t& w : weights) w = static_cast<int32_t>(std::clamp(std::lround(normal(random)), -510L, 510L));
      check_runs(weights, width);
    }
}

TEST_CASE("int8 runs: extreme weights") {
  for (const int32_t a : {-510, -256, -255, -129, -128, -127, -64, -1, 0, 1, 64, 65, 127, 128, 129, 255, 510})
    for (const int32_t b : {-510, -129, -128, -1, 0, 1, 63, 64, 65, 127, 128, 510}) {
      CAPTURE(a);
      CAPTURE(b);
      std::vector<int32_t> weights(3 * 64, 0);
      for (size_t i = 0; i < weights.size(); i += 2) weights[i] = a, weights[i + 1] = b;
      check_runs(weights, 16);
    }
}

TEST_CASE("int8 runs: small weights make one run, and quads of zeros none") {
  std::vector<int32_t> weights(32 * 64, 0);
  CHECK(pack_runs(weights, 16).runs.empty());
  for (size_t i = 0; i < 20 * 64; ++i) weights[i] = i % 2 ? 3 : -6;
  const PackedRuns packed = pack_runs(weights, 16);
  REQUIRE(packed.runs.size() == 1);
  CHECK(packed.runs[0].length == 20);
  CHECK(packed.runs[0].count == 1);
}

}  // namespace
}  // namespace nibble::int8::detail
