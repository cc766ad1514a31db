#include "layers/packed.h"

#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Tensor random_codes(const Shape& shape, int bits, uint64_t seed) {
  const Tensor codes = Tensor::empty(shape, DType::u8);
  const Rng rng(seed);
  for (size_t i = 0; i < codes.data<uint8_t>().size(); ++i)
    codes.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(rng.below(i, 1u << bits));
  return codes;
}

}  // namespace

TEST_CASE("packed: codes of every width and number come back") {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const int64_t count : {0, 1, 2, 3, 7, 8, 9, 31, 100}) {
      CAPTURE(bits);
      CAPTURE(count);
      const Tensor codes = random_codes({count}, bits, static_cast<uint64_t>(100 * bits + count));
      const Tensor packed = pack_codes(codes, bits);
      CHECK(packed.numel() == (count * bits + 7) / 8);
      CHECK(same_bits(unpack_codes(packed, {count}, bits), codes));
    }
  }
}

TEST_CASE("packed: the lowest bit of the first code is the lowest of the first byte") {
  const Tensor codes = Tensor::from<uint8_t>({3}, std::vector<uint8_t>{5, 3, 6});
  const Tensor packed = pack_codes(codes, 3);
  // 110 011 101 from the right: 1 1001 1101.
  CHECK(packed.data<uint8_t>()[0] == 0b10011101);
  CHECK(packed.data<uint8_t>()[1] == 1);
}

TEST_CASE("packed: codes that do not fit, a wrong number of bytes and bits behind the last code are refused") {
  const Tensor codes = Tensor::from<uint8_t>({3}, std::vector<uint8_t>{1, 4, 0});
  CHECK(mentions(message_of([&] { pack_codes(codes, 2); }), {"code 4", "element 1", "2 bits"}));
  CHECK_THROWS_AS(pack_codes(codes, 0), Error);
  CHECK_THROWS_AS(pack_codes(codes, 9), Error);
  const Tensor packed = pack_codes(codes, 3);
  CHECK(mentions(message_of([&] { unpack_codes(packed, {9}, 3); }), {"9 codes", "u8 [4]", "[2]"}));
  CHECK_THROWS_AS(unpack_codes(Tensor::zeros({2}), {3}, 3), Error);
  packed.mutable_data<uint8_t>()[1] |= 0x80;
  CHECK(mentions(message_of([&] { unpack_codes(packed, {3}, 3); }), {"behind the last code"}));
}

TEST_CASE("packed: exact codes decode to the weight, whatever the grid's thresholds") {
  const Grid grids[] = {Uniform{{0.5f, 0.25f}, {0}, -2, 1}, Uniform{{0.3f}, {0.1f}, 0, 6},
                        BitPlanes{{-1, -3}, {{0.5f, 2}, {1.25f, 4}}}, Codebook{{-2, 0, 1}, {5, 6}}};
  for (const Grid& grid : grids) {
    const auto levels = static_cast<uint32_t>(level_count(grid));
    const Tensor codes = Tensor::empty({2, 9}, DType::u8);
    for (size_t i = 0; i < 18; ++i) codes.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(Rng(3).below(i, levels));
    const Tensor weight = decode(codes, grid);
    CHECK(same_bits(exact_codes(weight, grid), codes));
    weight.mutable_data<float>()[5] += 1e-6f;
    CHECK(mentions(message_of([&] { exact_codes(weight, grid); }), {"element 5", "levels"}));
  }
  CHECK_THROWS_AS(exact_codes(Tensor::zeros({2}), Real{}), Error);
  CHECK_THROWS_AS(exact_codes(Tensor::zeros({3}), grids[0]), Error);
}

TEST_CASE("packed: bits and numbers of a grid") {
  CHECK(packed_bits(Uniform{{1}, {0}, -1, 1}) == 2);
  CHECK(packed_bits(Uniform{{1}, {0}, 0, 0}) == 1);
  CHECK(packed_bits(Uniform{{1}, {0}, 0, 255}) == 8);
  CHECK(packed_bits(Real{}) == 32);
  CHECK(grid_numbers(Uniform{{1, 2, 3}, {0}, -1, 1}) == 3);
  CHECK(grid_numbers(Uniform{{1}, {0.5f}, -1, 1}) == 2);
  CHECK(grid_numbers(BitPlanes{{1, 2}, {{1, 1}, {2, 2}}}) == 6);
  CHECK(grid_numbers(Codebook{{-1, 0, 1}, {0, 1}}) == 3);
  CHECK(grid_numbers(Real{}) == 0);
}
