#include "layers/packed.h"

#include <algorithm>
#include <bit>

#include "layers/describe.h"

namespace nibble {
namespace {

/// The levels of a channel in ascending order, each with its smallest code.
std::vector<std::pair<float, uint8_t>> sorted_levels(const Grid& grid, int64_t channel) {
  std::vector<std::pair<float, uint8_t>> sorted;
  for (const float level : levels_of(grid, channel)) sorted.emplace_back(level, static_cast<uint8_t>(sorted.size()));
  std::ranges::sort(sorted);
  return sorted;
}

}  // namespace

int64_t packed_bytes(int64_t count, int bits) { return (count * bits + 7) / 8; }

Tensor pack_codes(const Tensor& codes, int bits) {
  NIBBLE_CHECK(bits >= 1 && bits <= 8, "packed codes: expected 1 to 8 bits, got ", bits);
  const Tensor packed = Tensor::zeros({packed_bytes(codes.numel(), bits)}, DType::u8);
  const auto from = codes.data<uint8_t>();
  const auto to = packed.mutable_data<uint8_t>();
  for (size_t i = 0; i < from.size(); ++i) {
    NIBBLE_CHECK(from[i] >> bits == 0, "packed codes: code ", int{from[i]}, " of element ", i, " does not fit ", bits,
                 " bits");
    const size_t at = i * static_cast<size_t>(bits);
    const unsigned shifted = static_cast<unsigned>(from[i]) << at % 8;
    to[at / 8] = static_cast<uint8_t>(to[at / 8] | (shifted & 0xFF));
    if (shifted > 0xFF) to[at / 8 + 1] = static_cast<uint8_t>(shifted >> 8);
  }
  return packed;
}

Tensor unpack_codes(const Tensor& packed, const Shape& shape, int bits) {
  const Tensor codes = Tensor::empty(shape, DType::u8);
  unpack_codes(packed, bits, codes.mutable_data<uint8_t>());
  return codes;
}

void unpack_codes(const Tensor& packed, int bits, std::span<uint8_t> codes) {
  NIBBLE_CHECK(bits >= 1 && bits <= 8, "packed codes: expected 1 to 8 bits, got ", bits);
  const auto count = static_cast<int64_t>(codes.size()), bytes = packed_bytes(count, bits);
  NIBBLE_CHECK(packed.dtype() == DType::u8 && packed.shape() == Shape{bytes}, "packed codes: ", count, " codes of ",
               bits, " bits take u8 [", bytes, "], found ", name_of(packed.dtype()), " ", packed.shape());
  unpack_some(packed, bits, 0, codes);
  const int64_t used = count * bits % 8;
  NIBBLE_CHECK(used == 0 || packed.data<uint8_t>().back() >> used == 0, "packed codes: the ", 8 - used,
               " bits behind the last code must be 0");
}

void unpack_some(const Tensor& packed, int bits, int64_t first, std::span<uint8_t> codes) {
  const auto from = packed.data<uint8_t>();
  if (bits == 8) {
    std::ranges::copy(from.subspan(static_cast<size_t>(first), codes.size()), codes.begin());
    return;
  }
  const unsigned mask = (1u << bits) - 1;
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t at = (static_cast<size_t>(first) + i) * static_cast<size_t>(bits);
    const unsigned high = at / 8 + 1 < from.size() ? from[at / 8 + 1] : 0u;
    codes[i] = static_cast<uint8_t>((from[at / 8] | high << 8) >> at % 8 & mask);
  }
}

int packed_bits(const Grid& grid) { return std::max(1, bits_of(grid)); }

int64_t grid_numbers(const Grid& grid) {
  const int64_t channels = channel_count(grid);
  if (const auto* g = std::get_if<Uniform>(&grid)) {
    const bool shifted = std::ranges::any_of(g->offset, [](float v) { return v != 0; });
    return shifted ? 2 * channels : channels;
  }
  if (const auto* g = std::get_if<BitPlanes>(&grid)) return channels * static_cast<int64_t>(1 + g->basis.size());
  return level_count(grid);
}

Tensor exact_codes(const Tensor& weight, const Grid& grid) {
  const int64_t channels = channel_count(grid);
  check_grid(grid, channels);
  NIBBLE_CHECK(!std::holds_alternative<Real>(grid), "expected a grid, found real values");
  NIBBLE_CHECK(channels == 1 || (weight.rank() > 0 && weight.dim(0) == channels), "expected a grid of 1 channel or ",
               weight.rank() > 0 ? weight.dim(0) : 1, ", found ", channels);
  const Tensor codes = Tensor::empty(weight.shape(), DType::u8);
  const auto values = weight.data<float>();
  const auto to = codes.mutable_data<uint8_t>();
  const size_t width = values.size() / static_cast<size_t>(channels);
  for (int64_t c = 0; c < channels; ++c) {
    const auto levels = sorted_levels(grid, c);
    for (size_t i = static_cast<size_t>(c) * width; i < static_cast<size_t>(c + 1) * width; ++i) {
      const auto found = std::ranges::lower_bound(levels, values[i], {}, [](const auto& level) { return level.first; });
      NIBBLE_CHECK(found != levels.end() && found->first == values[i], "expected one of the ", levels.size(),
                   " levels ", levels.front().first, " .. ", levels.back().first, ", found ", values[i], " at element ",
                   i);
      to[i] = found->second;
    }
  }
  return codes;
}

}  // namespace nibble
