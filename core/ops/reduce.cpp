#include <vector>

#include "core/ops.h"
#include "core/ops/map.h"

namespace nibble {
namespace {

double total_of(const Tensor& x) {
  constexpr int64_t kBlock = 4096;
  const int64_t n = x.numel(), blocks = (n + kBlock - 1) / kBlock;
  const float* from = x.data<float>().data();
  std::vector<double> partial(static_cast<size_t>(blocks));
  parallel_for(0, blocks, kElementGrain / kBlock, [&](int64_t lo, int64_t hi) {
    for (int64_t block = lo; block < hi; ++block) {
      double part = 0;
      for (int64_t i = block * kBlock; i < std::min(n, (block + 1) * kBlock); ++i) part += from[i];
      partial[static_cast<size_t>(block)] = part;
    }
  });
  double total = 0;
  for (const double part : partial) total += part;
  return total;
}

Tensor scaled_sum(const char* op, const Tensor& x, double factor) {
  const Tensor y = Tensor::scalar(static_cast<float>(total_of(x) * factor));
  return record(op, y, {x}, [shape = x.shape(), factor](const Tensor& dy) -> Grads {
    return {Tensor::full(shape, static_cast<float>(dy.item() * factor))};
  });
}

}  // namespace

Tensor sum(const Tensor& x) {
  check_f32("sum", x);
  return scaled_sum("sum", x, 1);
}

Tensor mean(const Tensor& x) {
  check_f32("mean", x);
  NIBBLE_CHECK(x.numel() > 0, "mean: the input is empty, shape ", x.shape());
  return scaled_sum("mean", x, 1 / static_cast<double>(x.numel()));
}

}  // namespace nibble
