#include "quant/lowering/weight_codes.h"

#include <algorithm>
#include <cmath>

#include "layers/packed.h"

namespace nibble {

namespace {

/// -2 * (value of code 0) / step for each channel if all are integers, as they are where 0 is on a level or half way
/// between two; values are compared as the floats they are.
std::optional<std::vector<int>> zeros_in_half_steps(const Uniform& grid, size_t channels) {
  std::vector<int> zeros;
  const int highest = 2 * (grid.hi - grid.lo);
  for (size_t c = 0; c < channels; ++c) {
    const double step = grid.scale[grid.scale.size() == 1 ? 0 : c];
    const float offset = grid.offset[grid.offset.size() == 1 ? 0 : c];
    const float first = levels_of(grid, static_cast<int64_t>(c)).front();
    const double zero = offset == 0 ? -2.0 * grid.lo : std::nearbyint(-2.0 * first / step);
    if (!(zero >= 0 && zero <= highest)) return std::nullopt;
    if (offset != 0 && static_cast<float>(-zero * step / 2) != first) return std::nullopt;
    zeros.push_back(static_cast<int>(zero));
  }
  return zeros;
}

}  // namespace

std::optional<WeightCodes> weight_codes(const GemmForm& gemm, std::string& why) {
  if (std::holds_alternative<Real>(gemm.weight_grid)) {
    why = "its weight is not quantized";
    return std::nullopt;
  }
  const std::optional<Uniform> grid = as_uniform(gemm.weight_grid);
  if (!grid) {
    why = "its weight's levels are not equally spaced";
    return std::nullopt;
  }
  WeightCodes result;
  try {
    result.codes = exact_codes(gemm.weight, gemm.weight_grid);
  } catch (const Error& error) {
    why = error.what();
    return std::nullopt;
  }
  result.levels = grid->hi - grid->lo + 1;
  result.scale.assign(grid->scale.begin(), grid->scale.end());
  const auto channels = static_cast<size_t>(channel_count(*grid));
  if (const auto zeros = zeros_in_half_steps(*grid, channels)) {
    result.zero.assign(zeros->begin(), zeros->end());
    if (std::ranges::any_of(*zeros, [](int z) { return z % 2 != 0; })) {
      result.unit = 2;
      for (double& scale : result.scale) scale /= 2;
    } else {
      for (int32_t& zero : result.zero) zero /= 2;
    }
    if (std::ranges::all_of(result.zero, [&](int32_t z) { return z == result.zero[0]; })) result.zero.resize(1);
    return result;
  }
  result.zero = {0};
  for (size_t c = 0; c < channels; ++c) result.offset.push_back(levels_of(*grid, static_cast<int64_t>(c)).front());
  return result;
}

WeightCodes unit_weight(int64_t channels) {
  constexpr uint8_t kCode = 127;
  WeightCodes result;
  result.codes = Tensor::empty({channels, 1, 1, 1}, DType::u8);
  std::ranges::fill(result.codes.mutable_data<uint8_t>(), kCode);
  result.levels = kCode + 1;
  result.scale = {1.0 / kCode};
  result.zero = {0};
  return result;
}

}  // namespace nibble
