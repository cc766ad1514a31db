#include "layers/weight_init.h"

#include <cmath>

#include "core/parallel.h"

namespace nibble {

const std::vector<std::string>& weight_inits() {
  static const std::vector<std::string> names{"he_fan_in", "he_fan_out", "xavier", "normal", "uniform"};
  return names;
}

void draw_weight(const Tensor& weight, const std::string& init, float std, int groups, const Rng& rng) {
  const double taps = weight.rank() == 4 ? static_cast<double>(weight.dim(2) * weight.dim(3)) : 1;
  const double fan_in = taps * static_cast<double>(weight.dim(1));
  const double fan_out = taps * static_cast<double>(weight.dim(0)) / groups;
  double factor = std;
  if (init == "he_fan_in") factor = std::sqrt(2 / fan_in);
  if (init == "he_fan_out") factor = std::sqrt(2 / fan_out);
  if (init == "xavier") factor = std::sqrt(2 / (fan_in + fan_out));
  const bool uniform = init == "uniform";
  const std::span<float> values = weight.mutable_data<float>();
  parallel_for(0, weight.numel(), 4096, [&](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) {
      const auto at = static_cast<size_t>(i);
      const auto index = static_cast<uint64_t>(i);
      values[at] = uniform ? 2 * rng.uniform(index) - 1 : static_cast<float>(factor) * rng.normal(index);
    }
  });
}

Tensor new_parameter(const Shape& shape, const char* who) {
  constexpr int64_t kLargest = int64_t{1} << 28;  // 1 GiB
  NIBBLE_CHECK(shape.numel() <= kLargest, who, ": a weight ", shape, " would hold ", shape.numel(),
               " values, more than the ", kLargest, " that are accepted");
  Tensor parameter = Tensor::zeros(shape);
  parameter.set_requires_grad();
  return parameter;
}

}  // namespace nibble
