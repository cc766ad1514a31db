#include "core/grid.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::test;

namespace {

std::vector<int> codes_of(const Tensor& codes) {
  const auto values = codes.data<uint8_t>();
  return {values.begin(), values.end()};
}

std::vector<int> encoded(std::initializer_list<float> values, const Grid& grid) {
  return codes_of(encode(Tensor::of(values), grid));
}

std::vector<float> snapped(std::initializer_list<float> values, const Grid& grid) {
  return values_of(snap(Tensor::of(values), grid));
}

Tensor all_codes(int64_t count) {
  std::vector<uint8_t> codes;
  for (int64_t i = 0; i < count; ++i) codes.push_back(static_cast<uint8_t>(i));
  return Tensor::from(Shape{count}, std::span<const uint8_t>(codes));
}

/// The nearest level of a list by exhaustive search in double; ties to the lower level, equal levels to the smaller
/// code.
int nearest(double x, const std::vector<float>& levels) {
  int best = 0;
  for (int code = 1; code < static_cast<int>(levels.size()); ++code) {
    const double distance = std::abs(x - levels[static_cast<size_t>(code)]);
    const double shortest = std::abs(x - levels[static_cast<size_t>(best)]);
    if (distance < shortest ||
        (distance == shortest && levels[static_cast<size_t>(code)] < levels[static_cast<size_t>(best)])) {
      best = code;
    }
  }
  return best;
}

}  // namespace

TEST_CASE("uniform grid: rounds half to even and clamps") {
  const Grid grid = Uniform{{0.5f}, {0.0f}, -2, 3};
  CHECK(encoded({-9, -1, -0.75f, -0.5f, -0.25f, 0, 0.25f, 0.5f, 0.75f, 1.25f, 1.5f, 9}, grid) ==
        std::vector<int>{0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 5, 5});
  CHECK(snapped({-9, 0.25f, 0.26f, 0.75f, INFINITY, -INFINITY}, grid) == std::vector<float>{-1, 0, 0.5f, 1, 1.5f, -1});
}

TEST_CASE("uniform grid: ties are half to even of the quotient, before the offset is taken off the code") {
  const Grid grid = Uniform{{1.0f}, {0.0f}, -3, 4};
  CHECK(encoded({-2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f, 3.5f}, grid) == std::vector<int>{1, 1, 3, 3, 5, 5, 7});
  const Grid shifted = Uniform{{1.0f}, {0.25f}, 0, 3};
  CHECK(encoded({0.75f, 1.75f, 0.25f}, shifted) == std::vector<int>{0, 2, 0});
  CHECK(snapped({0.75f, 1.75f}, shifted) == std::vector<float>{0.25f, 2.25f});
}

TEST_CASE("uniform grid: with ties up, halves go to the higher code on either side of 0, in codes and in values") {
  const Tensor x = Tensor::of({-9, -1.25f, -0.75f, -0.25f, 0.25f, 0.75f, 1.25f, 9});
  const Uniform grid{{0.5f}, {0}, -2, 3, Ties::up};
  CHECK(values_of(snap(x, grid)) == std::vector<float>{-1, -1, -0.5f, 0, 0.5f, 1, 1.5f, 1.5f});
  CHECK(snapped({std::nextafter(0.25f, 0.0f), std::nextafter(-0.25f, -1.0f)}, grid) == std::vector<float>{0, -0.5f});
  CHECK(same_bits(decode(encode(x, grid), grid), snap(x, grid)));
  const Uniform shifted{{0.5f}, {-1}, 0, 5, Ties::up};
  CHECK(same_bits(snap(x, shifted), snap(x, grid)));
  CHECK(as_uniform(grid)->ties == Ties::up);
}

TEST_CASE("snap_finite: is snap, and refuses what is not finite by name and place") {
  const Tensor x = Tensor::of({-3, 0.2f, 0.7f, std::numeric_limits<float>::max()});
  const Grid grids[] = {Uniform{{0.5f}, {0}, -2, 3}, Codebook{{0, 1}, {0.5f}}, BitPlanes{{0}, {{1}, {2}}}};
  for (const Grid& grid : grids) {
    CHECK(same_bits(snap_finite("me", x, grid), snap(x, grid)));
    for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
      const Tensor y = x.clone();
      y.mutable_data<float>()[2] = bad;
      std::string message;
      try {
        snap_finite("me", y, grid);
      } catch (const Error& error) {
        message = error.what();
      }
      CHECK(message.find("me: expected finite numbers, element 2 of a tensor of shape [4] is") == 0);
    }
  }
}

TEST_CASE("every grid: decode then encode gives the code back, and snap equals decode of encode") {
  const std::vector<Grid> grids = {Uniform{{0.1f}, {0.0f}, 0, 255},       Uniform{{0.3f}, {0.0f}, -128, 127},
                                   Uniform{{0.7f}, {-1.3f}, 0, 14},       Uniform{{2.0f}, {0.0f}, 5, 5},
                                   Codebook{{-2, 0.5f, 3}, {-1, 2.5f}},   Codebook{{7.0f}, {}},
                                   BitPlanes{{-0.75f}, {{0.5f}, {1.0f}}}, BitPlanes{{0}, {{0.3f}, {0.9f}, {0.2f}}}};
  const Tensor x = normal_tensor({3001}, 1, 0, 3);
  for (const Grid& grid : grids) {
    const int64_t count = level_count(grid);
    CAPTURE(grid.index());
    CAPTURE(count);
    const Tensor codes = all_codes(count), values = decode(codes, grid);
    CHECK(values_of(values) == levels_of(grid, 0));
    CHECK(same_bits(decode(encode(values, grid), grid), values));
    CHECK(codes_of(encode(values, grid)) == codes_of(codes));
    CHECK(same_bits(snap(x, grid), decode(encode(x, grid), grid)));
    CHECK(same_bits(snap(snap(x, grid), grid), snap(x, grid)));
  }
}

TEST_CASE("bit planes: the nearest level wins, exhaustively over small bases") {
  // Bases that are not monotone, negative, or give equal levels; values on a lattice that hits every threshold.
  const std::vector<float> choices = {-1.0f, -0.25f, 0.0f, 0.5f, 0.75f, 1.0f, 2.0f};
  std::vector<float> lattice;
  for (int i = -40; i <= 40; ++i) lattice.push_back(static_cast<float>(i) / 8);
  const Tensor x = Tensor::from(Shape{static_cast<int64_t>(lattice.size())}, lattice);
  for (const float a : choices)
    for (const float b : choices)
      for (const float c : choices) {
        const Grid grid = BitPlanes{{-0.5f}, {{a}, {b}, {c}}};
        const std::vector<float> levels = levels_of(grid, 0);
        std::vector<int> expected;
        for (const float v : lattice) expected.push_back(nearest(v, levels));
        if (codes_of(encode(x, grid)) != expected) {
          CAPTURE(a);
          CAPTURE(b);
          CAPTURE(c);
          CHECK(codes_of(encode(x, grid)) == expected);
        }
      }
}

TEST_CASE("bit planes: a tie goes to the lower level, one float above it to the upper") {
  const Grid grid = BitPlanes{{0}, {{1.0f}, {2.0f}}};
  const auto above = [](float v) { return std::nextafter(v, 100.0f); };
  CHECK(encoded({0.5f, above(0.5f), 1.5f, above(1.5f), 2.5f, above(2.5f), -9, 9}, grid) ==
        std::vector<int>{0, 1, 1, 2, 2, 3, 0, 3});
  // The middle of 0 and the float after 1 is no float: nothing lies on it, and both neighbours go where they belong.
  const float top = std::nextafter(1.0f, 2.0f), half = 0.5f;
  const Grid narrow = BitPlanes{{0}, {{top}}};
  CHECK(encoded({half, std::nextafter(half, 1.0f)}, narrow) == std::vector<int>{0, 0});
  const Grid tight = BitPlanes{{1.0f}, {{top - 1.0f}}};
  CHECK(encoded({1.0f, top}, tight) == std::vector<int>{0, 1});
}

TEST_CASE("codebook: the code is the number of thresholds below x") {
  const Grid grid = Codebook{{-1, 0, 1}, {-0.35f, 0.35f}};
  CHECK(encoded({-2, -0.35f, -0.34f, 0.35f, 0.36f, 5}, grid) == std::vector<int>{0, 0, 1, 1, 2, 2});
  std::vector<float> levels(256), thresholds(255);
  for (size_t i = 0; i < 256; ++i) levels[i] = static_cast<float>(i * i);
  for (size_t i = 0; i < 255; ++i) thresholds[i] = (levels[i] + levels[i + 1]) / 2;
  const Grid wide = Codebook{levels, thresholds};
  const Tensor x = random_tensor({1000}, 1, -100, 70000);
  for (size_t i = 0; i < 1000; ++i) {
    const float v = x.data<float>()[i];
    CHECK(encode(x, wide).data<uint8_t>()[i] == std::ranges::count_if(thresholds, [v](float t) { return t < v; }));
  }
}

TEST_CASE("grids with channels: each slice of axis 0 has its own entries, lists of one entry serve all") {
  const Tensor x = random_tensor({3, 2, 5}, 1, -4, 4);
  const std::vector<float> scale = {0.5f, 1.0f, 0.25f}, offset = {0.0f, 0.5f, -1.0f};
  const auto check = [&](const Grid& all, const auto& single) {
    const Tensor codes = encode(x, all), values = snap(x, all);
    for (int64_t c = 0; c < 3; ++c) {
      const auto part = [&](const Tensor& t) {
        return Tensor::from(Shape{10}, t.data<float>().subspan(static_cast<size_t>(c * 10), 10));
      };
      CHECK(same_bits(part(values), snap(part(x), single(static_cast<size_t>(c)))));
    }
    CHECK(same_bits(decode(codes, all), values));
    CHECK(channel_count(all) == 3);
    CHECK_THROWS_AS(encode(Tensor::zeros({2, 3}), all), Error);
    CHECK_THROWS_AS(snap(Tensor::scalar(1), all), Error);
  };
  check(Uniform{scale, offset, -2, 3}, [&](size_t c) -> Grid { return Uniform{{scale[c]}, {offset[c]}, -2, 3}; });
  check(Uniform{scale, {0}, -2, 3}, [&](size_t c) -> Grid { return Uniform{{scale[c]}, {0}, -2, 3}; });
  check(BitPlanes{offset, {scale, {0.125f}}}, [&](size_t c) -> Grid {
    return BitPlanes{{offset[c]}, {{scale[c]}, {0.125f}}};
  });
}

TEST_CASE("real grid: snap gives the tensor itself, codes do not exist") {
  const Tensor x = random_tensor({4}, 1);
  CHECK(same_bits(snap(x, Real{}), x));
  CHECK(level_count(Real{}) == 0);
  CHECK_THROWS_WITH_AS(encode(x, Real{}), "encode: a real grid has no codes", Error);
  CHECK_THROWS_AS(decode(Tensor::zeros({4}, DType::u8), Real{}), Error);
}

TEST_CASE("as_bitplanes: a uniform grid of 2^k levels becomes k planes with the same values") {
  for (int bits = 1; bits <= 8; ++bits) {
    const int count = 1 << bits;
    for (const int lo : {0, -count / 2}) {
      const Grid uniform = Uniform{{0.1f, 0.37f, 3.0f}, {0}, lo, lo + count - 1};
      const auto planes = as_bitplanes(uniform);
      REQUIRE(planes);
      CHECK(planes->basis.size() == static_cast<size_t>(bits));
      for (int64_t c = 0; c < 3; ++c) CHECK(levels_of(*planes, c) == levels_of(uniform, c));
      // Away from ties both kinds give the same codes.
      const Tensor x = random_tensor({3, 500}, static_cast<uint64_t>(bits), -20, 20);
      CHECK(same_bits(encode(x, *planes), encode(x, uniform)));
      const auto back = as_uniform(*planes);
      REQUIRE(back);
      CHECK(back->scale == std::vector<float>{0.1f, 0.37f, 3.0f});
      CHECK(back->offset == std::vector<float>{0});
      CHECK(back->lo == lo);
    }
  }
  CHECK_FALSE(as_bitplanes(Uniform{{1}, {0}, -1, 1}));
  CHECK_FALSE(as_bitplanes(Uniform{{1}, {0}, 0, 0}));
  CHECK_FALSE(as_bitplanes(Real{}));
}

TEST_CASE("as_uniform: finds equal steps in bit planes and codebooks, and nothing else") {
  // -1/+1 codes: odd multiples, which need an offset.
  const auto signs = as_uniform(BitPlanes{{-0.3f}, {{0.6f}}});
  REQUIRE(signs);
  CHECK(signs->lo == 0);
  CHECK(levels_of(*signs, 0) == std::vector<float>{-0.3f, 0.3f});
  const auto ternary = as_uniform(Codebook{{-0.7f, 0, 0.7f}, {-0.2f, 0.2f}});
  REQUIRE(ternary);
  CHECK(ternary->lo == -1);
  CHECK(ternary->hi == 1);
  CHECK(ternary->scale == std::vector<float>{0.7f});
  CHECK(ternary->offset == std::vector<float>{0});
  CHECK(as_uniform(Codebook{{2.5f}, {}}));
  CHECK_FALSE(as_uniform(Codebook{{-1, 0, 2}, {-0.5f, 1}}));
  CHECK_FALSE(as_uniform(BitPlanes{{0}, {{1}, {1.5f}}}));
  CHECK_FALSE(as_uniform(BitPlanes{{0}, {{2}, {1}}}));
  CHECK_FALSE(as_uniform(BitPlanes{{0}, {{-1}, {-2}}}));
  CHECK_FALSE(as_uniform(Real{}));
}

TEST_CASE("as_bitplanes: takes a codebook whose levels are sums of planes") {
  const auto planes = as_bitplanes(Codebook{{-1, 0, 3, 4}, {-0.5f, 1.5f, 3.5f}});
  REQUIRE(planes);
  CHECK(planes->offset == std::vector<float>{-1});
  CHECK(planes->basis == std::vector<std::vector<float>>{{1}, {4}});
  CHECK_FALSE(as_bitplanes(Codebook{{-1, 0, 3, 5}, {-0.5f, 1.5f, 3.5f}}));
}

TEST_CASE("check_grid: ill-formed grids are refused with a reason") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto refuses = [](const Grid& grid) { CHECK_THROWS_AS(check_grid(grid, 2), Error); };
  CHECK_THROWS_WITH_AS(check_grid(Uniform{{0}, {0}, 0, 1}, 2), "grid: scale[0] must be positive, is 0", Error);
  CHECK_THROWS_WITH_AS(check_grid(Uniform{{1, 1, 1}, {0}, 0, 1}, 2),
                       "grid: scale must have 1 or 2 entries (one per channel), has 3", Error);
  refuses(Uniform{{-1}, {0}, 0, 1});
  refuses(Uniform{{nan}, {0}, 0, 1});
  refuses(Uniform{{INFINITY}, {0}, 0, 1});
  refuses(Uniform{{1}, {nan}, 0, 1});
  refuses(Uniform{{}, {0}, 0, 1});
  refuses(Uniform{{1}, {}, 0, 1});
  refuses(Uniform{{1}, {0}, 1, 0});
  refuses(Uniform{{1}, {0}, 0, 256});
  refuses(Uniform{{1}, {0}, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()});
  refuses(Uniform{{3e38f}, {0}, 0, 2});
  refuses(Uniform{});
  refuses(BitPlanes{});
  refuses(BitPlanes{{0}, {}});
  refuses(BitPlanes{{0}, {{}}});
  refuses(BitPlanes{{0}, {{nan}}});
  refuses(BitPlanes{{0}, std::vector<std::vector<float>>(9, {1.0f})});
  refuses(BitPlanes{{0}, {{1, 2, 3}}});
  refuses(Codebook{});
  refuses(Codebook{{1, 0}, {0.5f}});
  refuses(Codebook{{0, 1, 2}, {1.5f, 0.5f}});
  refuses(Codebook{{0, 1}, {}});
  refuses(Codebook{{0, nan}, {0.5f}});
  CHECK_THROWS_AS(encode(Tensor::zeros({2}), Uniform{}), Error);
  CHECK_THROWS_AS(as_uniform(BitPlanes{}), Error);
  check_grid(Uniform{{1, 2}, {0}, 0, 255}, 2);
  check_grid(Real{}, 2);
}

TEST_CASE("encode and decode refuse NaN, codes outside the grid and wrong types") {
  const Grid uniform = Uniform{{1}, {0}, 0, 2}, table = Codebook{{0, 1, 2}, {0.5f, 1.5f}};
  const Tensor bad = Tensor::of({1, NAN, 2});
  for (const Grid& grid : {uniform, table}) {
    CHECK_THROWS_WITH_AS(encode(bad, grid), "grid: element 1 of a tensor of shape [3] is NaN", Error);
    CHECK_THROWS_AS(snap(bad, grid), Error);
    CHECK_THROWS_WITH_AS(decode(all_codes(4), grid), "decode: code 3 is outside the grid's 3 levels", Error);
    CHECK_THROWS_AS(encode(all_codes(2), grid), Error);
    CHECK_THROWS_AS(decode(Tensor::zeros({2}), grid), Error);
    CHECK(encode(Tensor::zeros({0, 4}), grid).numel() == 0);
  }
}

TEST_CASE("encode: same codes with any number of threads") {
  const Tensor x = random_tensor({5, 20011}, 1, -3, 3);
  const Grid grid = Uniform{{0.1f, 0.2f, 0.3f, 0.4f, 0.5f}, {0}, -8, 7};
  const int before = threads();
  set_threads(1);
  const Tensor one = encode(x, grid);
  set_threads(3);
  CHECK(same_bits(encode(x, grid), one));
  set_threads(before);
}
