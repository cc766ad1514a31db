#include "quant/affine_range.h"

#include <cmath>
#include <limits>

#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

struct Row {
  double min, max;
  int qmin, qmax;
  double scale;
  int zero;
  double lowest, highest;
};

}  // namespace

TEST_CASE("affine range: the nudging table of the specification") {
  const Row table[] = {
      {-1, 1, 0, 255, 0.007843137255, 128, -1.003921569, 0.9960784314},
      {-1, 1, 1, 255, 0.007874015748, 128, -1, 1},
      {0, 6, 0, 255, 0.02352941176, 0, 0, 6},
      {-0.5, 5.5, 0, 255, 0.02352941176, 21, -0.4941176471, 5.505882353},
      {-3.2, 0, 0, 255, 0.01254901961, 255, -3.2, 0},
      {-0.7, 1.1, 0, 127, 0.01417322835, 49, -0.694488189, 1.105511811},
      {-0.7, 1.1, 0, 15, 0.12, 6, -0.72, 1.08},
      {-0.7, 1.1, 1, 15, 0.1285714286, 6, -0.6428571429, 1.157142857},
      {-2, 3, 0, 3, 1.666666667, 1, -1.666666667, 3.333333333},
      {-1, 1, -128, 127, 0.007843137255, -1, -0.9960784314, 1.003921569},
      {-1, 1, -127, 127, 0.007874015748, 0, -1, 1},
      {-0.3, 0.5, -127, 127, 0.003149606299, -32, -0.2992125984, 0.5007874016},
  };
  for (const Row& row : table) {
    CAPTURE(row.min);
    CAPTURE(row.max);
    CAPTURE(row.qmin);
    CAPTURE(row.qmax);
    const AffineRange range = nudge(row.min, row.max, row.qmin, row.qmax);
    CHECK(std::abs(range.scale - row.scale) < 1e-7 * row.scale);
    CHECK(range.zero == row.zero);
    CHECK(range.lo == row.qmin - row.zero);
    CHECK(range.hi == row.qmax - row.zero);
    CHECK(std::abs(range.lowest - row.lowest) < 2e-7);
    CHECK(std::abs(range.highest - row.highest) < 5e-7);
  }
  const int tie = nudge(-0.1, 0.9, 0, 255).zero;  // 25.5 in exact arithmetic
  CHECK((tie == 25 || tie == 26));
}

TEST_CASE("affine range: 0 belongs to every range, and random ones follow the formula") {
  const Rng rng(3);
  for (uint64_t i = 0; i < 500; ++i) {
    const double a = 4 * rng.uniform(3 * i) - 2, b = a + 3 * rng.uniform(3 * i + 1) + 1e-3;
    const int qmin = static_cast<int>(rng.below(3 * i + 2, 2)), qmax = (1 << (4 + i % 5)) - 1;
    const AffineRange range = nudge(a, b, qmin, qmax);
    const double min = std::fmin(a, 0), max = std::fmax(b, 0), s = (max - min) / (qmax - qmin), zp = qmin - min / s;
    CAPTURE(a);
    CAPTURE(b);
    CAPTURE(qmin);
    CAPTURE(qmax);
    CHECK(std::abs(range.scale - s) <= 6e-8 * s);
    CHECK(std::abs(range.zero - zp) <= 0.5 + 1e-9);
    CHECK(range.zero >= qmin);
    CHECK(range.zero <= qmax);
    CHECK(range.lo <= 0);
    CHECK(range.hi >= 0);
  }
}

TEST_CASE("affine range: empty, tiny and huge ranges give valid grids, others are refused") {
  const AffineRange empty = nudge(0, 0, 1, 255);
  CHECK(empty.scale == 1);
  CHECK(empty.zero == 1);
  constexpr float kMost = std::numeric_limits<float>::max(), kTiny = std::numeric_limits<float>::denorm_min();
  const std::pair<float, float> ranges[] = {{0, kTiny},       {-kTiny, kTiny}, {-kMost, kMost}, {0, kMost}, {-kMost, 0},
                                            {-1e-30f, kMost}, {-kMost, 1e38f}, {5, 5},          {-7, -3}};
  for (const auto& ends : ranges) {
    const float min = ends.first, max = ends.second;
    CAPTURE(min);
    CAPTURE(max);
    for (const int qmin : {0, 1}) {
      const AffineRange range = nudge(min, max, qmin, 255);
      const AffineRange both[] = {with_short_scale(range), with_short_scale(nudge(-max, -min, qmin, 255))};
      check_grid(grid_of({&range, 1}), 1);
      check_grid(grid_of(both), 2);
    }
  }
  CHECK(mentions(message_of([] { nudge(0, INFINITY, 0, 255); }), {"finite", "inf"}));
  CHECK(mentions(message_of([] { nudge(NAN, 1, 0, 255); }), {"finite", "nan"}));
  CHECK(mentions(message_of([] { nudge(0, 1, 3, 3); }), {"qmin < qmax", "3..3"}));
}

TEST_CASE("affine range: a grid of channels with different zero points holds 0 exactly in each") {
  std::vector<AffineRange> ranges;
  for (int c = 0; c < 40; ++c) ranges.push_back(with_short_scale(nudge(-0.013 * c - 1e-3, 0.7 / (c + 1), 1, 255)));
  const Uniform grid = grid_of(ranges);
  check_grid(grid, 40);
  for (int c = 0; c < 40; ++c) {
    const AffineRange& range = ranges[static_cast<size_t>(c)];
    const std::vector<float> levels = levels_of(grid, c);
    CHECK(levels[static_cast<size_t>(-range.lo)] == 0.0f);
    CHECK(levels.front() == range.lowest);
    CHECK(levels.back() == range.highest);
    const double exact = nudge(-0.013 * c - 1e-3, 0.7 / (c + 1), 1, 255).scale;
    CHECK(std::abs(range.scale - exact) <= 0x1p-16 * exact);
  }
}

TEST_CASE("affine range: extremes hold 0 and refuse what is not finite") {
  Tensor x = random_tensor({3, 20001}, 4, 1, 2);
  x.mutable_data<float>()[20001 + 17] = -5;
  x.mutable_data<float>()[2 * 20001 + 20000] = 9;
  const std::vector<Extremes> found = finite_extremes("test", x, 3);
  CHECK(found[0].lowest == 0);
  CHECK(found[1].lowest == -5);
  CHECK(found[2].highest == 9);
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    const Tensor broken = x.clone();
    broken.mutable_data<float>()[20001 + 5] = bad;
    CHECK(mentions(message_of([&] { finite_extremes("test", broken, 3); }), {"test: element 20006", "[3,20001]"}));
  }
}

TEST_CASE("affine range: a bias becomes 32-bit codes at scale S1 S2") {
  CHECK(bias_code(1.5, 0.02, 0.05) == 1500);  // the worked example of the specification
  CHECK(bias_code(-0.37, 0.02, 0.05) == -370);
  CHECK(bias_code(0.5, 1, 1) == 1);  // half away from 0
  CHECK(bias_code(-0.5, 1, 1) == -1);
  CHECK(bias_code(-1.5, 1, 1) == -2);
  CHECK(bias_code(1e9, 1e-3, 1e-3) == std::numeric_limits<int32_t>::max());
  CHECK(bias_code(-1e9, 1e-3, 1e-3) == std::numeric_limits<int32_t>::min());
  CHECK(mentions(message_of([] { bias_code(1, 0, 1); }), {"positive"}));
}
