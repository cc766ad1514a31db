#include "quant/lowering/real_output.h"

#include <algorithm>

#include "core/parallel.h"

namespace nibble {

void RealOutput::fields(Fields& f) {
  f("adds", adds, "a second input (f32) is added to the output, which is real");
  f("least", least, "lower bound of a real output");
  f("most", most, "upper bound of a real output");
  f("pools", pools, "a real output is max-pooled");
  window.fields(f, "pool_");
}

RealOutput RealOutput::of(const GemmSite& site) {
  const auto bound = [](const std::vector<double>& list) {
    NIBBLE_CHECK(std::ranges::all_of(list, [&](double v) { return v == list[0]; }),
                 "the bounds of its real output differ from channel to channel");
    return static_cast<float>(std::clamp(list[0], -double{kUnbounded}, double{kUnbounded}));
  };
  RealOutput reals{.adds = site.adds, .least = bound(site.map.lo), .most = bound(site.map.hi)};
  if (site.pool) {
    reals.pools = true;
    reals.window = PoolWindow::of(*site.pool);
  }
  return reals;
}

void RealOutput::check(const char* who, bool real, bool linear) const {
  NIBBLE_CHECK(least <= most, who, ": expected least <= most, got ", least, " and ", most);
  NIBBLE_CHECK(real || (!adds && least == -kUnbounded && most == kUnbounded), who,
               ": only a real output has a second term or bounds in reals");
  NIBBLE_CHECK(!pools || (real && !linear && !adds && !window.global), who,
               ": only a real output of images without a second term can be pooled, and not globally");
}

void RealOutput::finish(const Tensor& y, const Tensor& add) const {
  if (!adds && least == -kUnbounded && most == kUnbounded) return;
  const float lo = lower(), hi = upper();
  const float* term = adds ? add.data<float>().data() : nullptr;
  float* to = y.mutable_data<float>().data();
  parallel_for(0, y.numel(), 1 << 14, [=](int64_t begin, int64_t end) {
    if (term != nullptr)
      for (int64_t i = begin; i < end; ++i) to[i] += term[i];
    for (int64_t i = begin; i < end; ++i) {
      const float above = to[i] > lo ? to[i] : lo;
      to[i] = above < hi ? above : hi;
    }
  });
}

Tensor RealOutput::pooled(const Tensor& y) const { return pools ? max_pool(y, window.on(y.shape())) : y; }

}  // namespace nibble
