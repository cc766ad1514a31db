#include "core/rng.h"

#include <cmath>

#include "third_party/doctest.h"

using namespace nibble;

TEST_CASE("rng: Philox4x32-10 gives the known answers of its authors") {
  CHECK(Rng(0, 0).block(0) == std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(Rng(~uint64_t{0}, ~uint64_t{0}).block(~uint64_t{0}) ==
        std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
}

TEST_CASE("rng: normal numbers have the moments and tails of the normal distribution") {
  const Rng rng(7, 3);
  const int n = 200000;
  double sum = 0, squares = 0, cubes = 0;
  int beyond_two = 0;
  for (int i = 0; i < n; ++i) {
    const double x = rng.normal(static_cast<uint64_t>(i));
    sum += x;
    squares += x * x;
    cubes += x * x * x;
    beyond_two += std::abs(x) > 2;
  }
  CHECK(sum / n == doctest::Approx(0).epsilon(0.01));
  CHECK(squares / n == doctest::Approx(1).epsilon(0.01));
  CHECK(std::abs(cubes / n) < 0.03);
  CHECK(static_cast<double>(beyond_two) / n == doctest::Approx(0.0455).epsilon(0.05));
}

TEST_CASE("rng: uniform numbers fill [0, 1) and below(n) fills [0, n) evenly") {
  const Rng rng(11);
  int counts[7] = {};
  double sum = 0;
  for (uint64_t i = 0; i < 70000; ++i) {
    const float u = rng.uniform(i);
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
    sum += u;
    ++counts[rng.below(i, 7)];
  }
  CHECK(sum / 70000 == doctest::Approx(0.5).epsilon(0.01));
  for (const int count : counts) CHECK(count == doctest::Approx(10000).epsilon(0.05));
}

TEST_CASE("rng: children are independent of each other and of their parent, and repeatable") {
  Rng a(5), b(5);
  Rng first = a.split(), second = a.split();
  CHECK(first.bits(0) != second.bits(0));
  CHECK(first.bits(0) == b.split().bits(0));
  CHECK(Rng(5).named("conv1").bits(0) == Rng(5).named("conv1").bits(0));
  CHECK(Rng(5).named("conv1").bits(0) != Rng(5).named("conv2").bits(0));
  CHECK(Rng(5).named("conv1").bits(0) != Rng(6).named("conv1").bits(0));
}

TEST_CASE("rng: sequential numbers are the indexed ones, and the position can be restored") {
  Rng rng(9, 1);
  const float x = rng.next_uniform();
  CHECK(x == rng.uniform(0));
  Rng resumed(9, 1);
  resumed.set_position(rng.position());
  CHECK(resumed.next_bits() == rng.next_bits());
}
