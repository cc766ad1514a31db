#include "quant/sign_weights.h"

#include <cmath>
#include <limits>

#include "quant/blocks.h"
#include "quant/finite.h"
#include "quant/statistics.h"

namespace nibble {

std::vector<float> sign_scales(std::string_view who, const Tensor& w, int64_t channels) {
  // The distance of the levels, twice the scale, must be a float as well.
  constexpr double kLargest = std::numeric_limits<float>::max() / 2;
  std::vector<float> scale;
  for (const double mean : mean_absolute(w, channels)) {
    if (!std::isfinite(mean)) check_finite(who, w);
    scale.push_back(static_cast<float>(std::min(mean, kLargest)));
  }
  return scale;
}

Grid sign_grid(const std::vector<float>& scale) {
  if (scale.size() == 1) {
    // The threshold lies just below 0, so that 0 itself goes up.
    return Codebook{{-scale[0], scale[0]}, {-std::numeric_limits<float>::denorm_min()}};
  }
  BitPlanes planes{{}, {{}}};
  for (const float s : scale) {
    planes.offset.push_back(-s);
    planes.basis[0].push_back(2 * s);
  }
  return planes;
}

Tensor scaled_sign(const Tensor& w, std::span<const float> scale) {
  Tensor y = Tensor::empty_like(w);
  const float* from = w.data<float>().data();
  float* to = y.mutable_data<float>().data();
  Blocks(w.numel(), static_cast<int64_t>(scale.size())).each([=](const Block& b) {
    const float up = scale[static_cast<size_t>(b.channel)];
    for (int64_t i = b.begin; i < b.begin + b.count; ++i) to[i] = from[i] >= 0 ? up : -up;
  });
  return y;
}

Tensor random_sign(const Tensor& x, float scale, Rng& rng) {
  const uint64_t first = rng.position();
  rng.set_position(first + static_cast<uint64_t>(x.numel()));
  Tensor y = Tensor::empty_like(x);
  const float* from = x.data<float>().data();
  float* to = y.mutable_data<float>().data();
  Blocks(x.numel(), 1).each([=, source = rng](const Block& b) {
    for (int64_t i = b.begin; i < b.begin + b.count;) {
      const uint64_t index = first + static_cast<uint64_t>(i);
      const auto bits = source.block(index >> 2);
      for (uint64_t k = index & 3; k < 4 && i < b.begin + b.count; ++k, ++i) {
        const float chance = (from[i] / scale + 1) / 2;
        to[i] = static_cast<float>(bits[k] >> 8) * 0x1p-24f < chance ? scale : -scale;
      }
    }
  });
  return y;
}

Tensor sign_gradient(const Tensor& x, const Tensor& dy, std::span<const float> scale, const BackwardRule& rule) {
  Tensor dx = Tensor::empty_like(x);
  const auto u = x.data<float>(), g = dy.data<float>();
  const auto to = dx.mutable_data<float>();
  Blocks(x.numel(), static_cast<int64_t>(scale.size())).each([&](const Block& b) {
    const auto begin = static_cast<size_t>(b.begin), count = static_cast<size_t>(b.count);
    const float top = scale[static_cast<size_t>(b.channel)];
    rule.input(u.subspan(begin, count), g.subspan(begin, count), -top, top, to.subspan(begin, count));
  });
  return dx;
}

Tensor record_sign(std::string_view who, const Tensor& x, float scale, std::shared_ptr<const BackwardRule> rule,
                   Rng* rng) {
  check_finite(who, x);
  const Tensor y = rng != nullptr ? random_sign(x, scale, *rng) : scaled_sign(x, {&scale, 1});
  return record(who, y, {x}, [x, scale, rule = std::move(rule)](const Tensor& dy) -> Grads {
    return {sign_gradient(x, dy, {&scale, 1}, *rule)};
  });
}

float glorot_lr_factor(const std::string& scale, const Tensor& weight) {
  if (scale == "none" || weight.rank() < 2 || weight.numel() == 0) return 1;
  const double fan_in = static_cast<double>(weight.numel()) / static_cast<double>(weight.dim(0));
  const double window = fan_in / static_cast<double>(weight.dim(1));
  const double squared = (fan_in + window * static_cast<double>(weight.dim(0))) / 1.5;
  return static_cast<float>(scale == "glorot" ? std::sqrt(squared) : squared);
}

const std::vector<std::string>& glorot_lr_scales() {
  static const std::vector<std::string> scales{"glorot", "glorot_squared", "none"};
  return scales;
}

void clamp_in_place(const Tensor& w, float bound) {
  float* values = w.mutable_data<float>().data();
  Blocks(w.numel(), 1).each([=](const Block& b) {
    for (int64_t i = b.begin; i < b.begin + b.count; ++i) {
      const float v = values[i];  // NaN stays, for the next forward to refuse
      values[i] = v > bound ? bound : v < -bound ? -bound : v;
    }
  });
}

}  // namespace nibble
