#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/kernels/fixed_point.h"
#include "quant/kernels/int8_elementwise/int8_elementwise.h"

namespace nibble::int8 {
namespace {

constexpr int64_t kGrain = 1 << 14;

void look_up(const CodeTable& table, const uint8_t* x, uint8_t* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = table[x[i]];
}

}  // namespace

CodeTable requantize_table(double in_scale, int32_t in_zero, double out_scale, int32_t out_zero, int32_t lo,
                           int32_t hi) {
  NIBBLE_CHECK(in_scale > 0 && out_scale > 0, "int8 requantize: scales must be positive, got ", in_scale, " and ",
               out_scale);
  NIBBLE_CHECK(in_zero >= 0 && in_zero <= 255 && out_zero >= 0 && out_zero <= 255 && lo >= 0 && lo <= hi && hi <= 255,
               "int8 requantize: zero points ", in_zero, ", ", out_zero, " or bounds ", lo, "..", hi,
               " are not in 0..255");
  const QuantizedMultiplier m = quantize_multiplier(in_scale / out_scale);
  CodeTable table;
  for (int32_t q = 0; q < 256; ++q) {
    const int64_t v = int64_t{multiply_by_quantized_multiplier(q - in_zero, m)} + out_zero;
    table[static_cast<size_t>(q)] = static_cast<uint8_t>(std::clamp<int64_t>(v, lo, hi));
  }
  return table;
}

void apply_table(const CodeTable& table, const uint8_t* x, uint8_t* y, int64_t n) {
  parallel_for(0, n, kGrain, [&](int64_t lo, int64_t hi) { look_up(table, x + lo, y + lo, hi - lo); });
}

void concat_channels(std::span<const ConcatInput> inputs, int64_t pixels, uint8_t* y) {
  int64_t all = 0;
  for (const ConcatInput& in : inputs) all += in.channels;
  if (all == 0) return;
  parallel_for(0, pixels, std::max<int64_t>(1, kGrain / all), [&](int64_t lo, int64_t hi) {
    int64_t first = 0;
    for (const ConcatInput& in : inputs) {
      for (int64_t p = lo; p < hi; ++p) {
        const uint8_t* from = in.x + p * in.channels;
        uint8_t* to = y + p * all + first;
        if (in.table)
          look_up(*in.table, from, to, in.channels);
        else
          std::memcpy(to, from, static_cast<size_t>(in.channels));
      }
      first += in.channels;
    }
  });
}

}  // namespace nibble::int8
