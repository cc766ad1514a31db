#include "quant/finite.h"

#include <atomic>
#include <bit>
#include <cmath>

#include "core/parallel.h"

namespace nibble {

void check_finite(std::string_view who, const Tensor& x) {
  const float* values = x.data<float>().data();
  std::atomic<bool> bad{false};
  parallel_for(0, x.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
    constexpr int32_t kExponent = 0x7f800000;  // all ones: infinity or NaN
    int32_t found = 0;
    for (int64_t i = begin; i < end; ++i) found |= (std::bit_cast<int32_t>(values[i]) & kExponent) == kExponent;
    if (found != 0) bad = true;
  });
  if (!bad) return;
  int64_t first = 0;
  while (std::isfinite(values[first])) ++first;
  throw Error(concat_text(who, ": expected finite numbers, element ", first, " of a tensor of shape ", x.shape(),
                          " is ", values[first]));
}

}  // namespace nibble
