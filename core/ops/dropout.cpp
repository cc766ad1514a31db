#include "core/ops.h"
#include "core/ops/map.h"

namespace nibble {
namespace {

/// y = x where the generator's number at first + i keeps element i, times the factor; y may be x.
void drop(const Tensor& x, const Tensor& y, float p, const Rng& rng, uint64_t first) {
  const float factor = p < 1 ? 1 / (1 - p) : 0;
  const float* from = x.data<float>().data();
  float* to = y.mutable_data<float>().data();
  parallel_for(0, x.numel(), kElementGrain / 8, [=, &rng](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi;) {
      const uint64_t index = first + static_cast<uint64_t>(i);
      const auto block = rng.block(index >> 2);
      for (uint64_t k = index & 3; k < 4 && i < hi; ++k, ++i) {
        const bool keep = static_cast<float>(block[k] >> 8) * 0x1p-24f >= p;
        to[i] = keep ? from[i] * factor : 0;
      }
    }
  });
}

}  // namespace

Tensor dropout(const Tensor& x, float p, Rng& rng) {
  check_f32("dropout", x);
  NIBBLE_CHECK(p >= 0 && p <= 1, "dropout: the probability must lie in [0, 1], got ", p);
  const uint64_t first = rng.position();
  rng.set_position(first + static_cast<uint64_t>(x.numel()));
  Tensor y = Tensor::empty_like(x);
  drop(x, y, p, rng, first);
  // The mask is drawn again from the same numbers instead of being kept.
  return record("dropout", y, {x}, [p, first, source = rng](const Tensor& dy) -> Grads {
    Tensor dx = reuse(dy);
    drop(dy, dx, p, source, first);
    return {dx};
  });
}

}  // namespace nibble
