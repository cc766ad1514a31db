#include "quant/dorefa.h"

#include <cmath>

#include "quant/blocks.h"
#include "quant/finite.h"
#include "quant/promises.h"
#include "quant/sign_weights.h"
#include "quant/surrogate.h"
#include "quant/unit_range.h"

namespace nibble {

namespace {

constexpr float kSmallestMax = 1e-8f;  ///< of what a gradient is divided by
constexpr int64_t kStretch = 1024;

/// 2^bits levels from -m to m, none of them 0; a value half way between the middle two goes up.
Uniform symmetric_grid(float m, int bits) {
  const float half = m / static_cast<float>((1 << bits) - 1);
  return Uniform{{2 * half}, {half}, -(1 << (bits - 1)), (1 << (bits - 1)) - 1};
}

struct Largest {
  float value = 0;
  void operator+=(const Largest& other) { value = std::max(value, other.value); }
};

/// t = tanh(w); returns max|t|.
float take_tanh(const Tensor& w, const Tensor& t) {
  const float* from = w.data<float>().data();
  float* to = t.mutable_data<float>().data();
  const auto found = Blocks(w.numel(), 1).sum<Largest>([=](const Block& b) {
    Largest largest;
    for (int64_t i = b.begin; i < b.begin + b.count; ++i) {
      to[i] = std::tanh(from[i]);
      largest.value = std::max(largest.value, std::abs(to[i]));
    }
    return largest;
  });
  return found[0].value;
}

/// What the gradient through the maximum needs: sum of g t, and how many elements share the maximum.
struct MaxSums {
  double product = 0;
  int64_t ties = 0;
  void operator+=(const MaxSums& other) {
    product += other.product;
    ties += other.ties;
  }
};

/// g = the rule's gradient at each element, in units of the codes.
MaxSums apply_rule(const Tensor& t, const Tensor& dy, const Tensor& g, float m, int bits, const BackwardRule& rule) {
  const float *pt = t.data<float>().data(), *pdy = dy.data<float>().data();
  float* pg = g.mutable_data<float>().data();
  const Uniform grid = symmetric_grid(m > 0 ? m : 1.0f, bits);
  const float scale = grid.scale[0] > 0 ? grid.scale[0] : 1.0f, offset = grid.offset[0];
  const auto lo = static_cast<float>(grid.lo), hi = static_cast<float>(grid.hi);
  const auto sums = Blocks(t.numel(), 1).sum<MaxSums>([=, &rule](const Block& b) {
    float u[kStretch];
    MaxSums result;
    for (int64_t first = b.begin; first < b.begin + b.count; first += kStretch) {
      const int64_t count = std::min(kStretch, b.begin + b.count - first);
      for (int64_t i = 0; i < count; ++i) u[i] = (pt[first + i] - offset) / scale;
      const auto length = static_cast<size_t>(count);
      rule.input({u, length}, {pdy + first, length}, lo, hi, {pg + first, length});
      for (int64_t i = first; i < first + count; ++i) {
        result.product += static_cast<double>(pg[i]) * pt[i];
        result.ties += std::abs(pt[i]) == m;
      }
    }
    return result;
  });
  return sums[0];
}

/// dw = (g / m, and what flows through the maximum m) * (1 - t^2).
Tensor weight_gradient(const Tensor& t, const Tensor& dy, float m, const Dorefa::Options& o, const BackwardRule& rule) {
  Tensor dw = Tensor::empty_like(t);
  const MaxSums sums = apply_rule(t, dy, dw, m, o.bits, rule);
  const bool divides = m >= kSmallestMax;
  const float factor = divides ? 1 / m : 1.0f;
  const bool through_max = divides && !o.detach_max;
  const float at_max =
      through_max ? static_cast<float>(-sums.product / (static_cast<double>(m) * m * static_cast<double>(sums.ties)))
                  : 0;
  const float* pt = t.data<float>().data();
  float* pdw = dw.mutable_data<float>().data();
  Blocks(t.numel(), 1).each([=](const Block& b) {
    for (int64_t i = b.begin; i < b.begin + b.count; ++i) {
      const float extra = pt[i] == m ? at_max : pt[i] == -m ? -at_max : 0.0f;
      pdw[i] = (pdw[i] * factor + extra) * (1 - pt[i] * pt[i]);
    }
  });
  return dw;
}

}  // namespace

void Dorefa::Options::fields(Fields& f) {
  f.choice("role", role, {"act", "weight"}, "what is quantized; a rule fills it in");
  f("bits", bits, "width of the codes", {1, 8});
  f("detach_max", detach_max, "weights: take max|tanh(w)| as a constant in the backward pass");
  f("clip", clip, "activations: upper end of their range; the paper's is 1, fine-tuning a float network needs more",
    {1e-6, 1e6});
  f.raw("backward", backward, "a backward rule",
        "by default \"clipped_ste\" for activations, \"identity\" for weights, where it is the derivative of the "
        "rounding");
}

Dorefa::Dorefa(const Options& options)
    : options_(options),
      rule_(make_backward_rule(options.backward, options.role == "weight" ? "identity" : "clipped_ste")) {}

Grid Dorefa::grid(const Tensor& x) const {
  if (options_.role == "act") return unit_grid(static_cast<float>(options_.clip), options_.bits);
  if (!x.defined()) return Real{};
  if (options_.bits == 1) return sign_grid(sign_scales(type(), x, 1));
  return symmetric_grid(1.0f, options_.bits);
}

Tensor Dorefa::quantize_weight(const Tensor& w) const {
  check_finite(type(), w);
  const Tensor t = Tensor::empty_like(w);
  const float m = take_tanh(w, t);
  // The codes are those of t on a grid stretched to m; below that the step would not be a normal float.
  const Tensor codes = encode(t, symmetric_grid(std::max(m, 1e-30f), options_.bits));
  return record("dorefa", decode(codes, grid(w)), {w}, [=, o = options_, rule = rule_](const Tensor& dy) -> Grads {
    return {weight_gradient(t, dy, m, o, *rule)};
  });
}

Tensor Dorefa::forward(Inputs in, const Pass&) {
  check_inputs(*this, in, 1);
  const Tensor& x = in[0];
  if (options_.role == "weight") {
    if (options_.bits > 1) return quantize_weight(x);
    return record_sign(type(), x, sign_scales(type(), x, 1)[0], rule_);
  }
  return record("dorefa", snap_finite(type(), x, grid()), {x},
                [x, o = options_, rule = rule_](const Tensor& dy) -> Grads {
                  return {unit_gradients(x, dy, static_cast<float>(o.clip), o.bits, *rule).dx};
                });
}

Surrogate Dorefa::surrogate(const Tensor& x) const {
  if (options_.role == "act" || options_.bits == 1) return rule_surrogate(rule_, grid(x));
  double fixed = 0;
  for (const float w : x.data<float>()) fixed = std::max(fixed, std::abs(std::tanh(static_cast<double>(w))));
  return [fixed, detached = options_.detach_max, units = rule_surrogate(rule_, grid(x))](std::span<const double> w) {
    std::vector<double> t(w.size());
    double m = detached ? fixed : 0;
    for (size_t i = 0; i < w.size(); ++i) {
      t[i] = std::tanh(w[i]);
      if (!detached) m = std::max(m, std::abs(t[i]));
    }
    // Below that the gradient is not divided by m.
    const double divisor = m >= static_cast<double>(kSmallestMax) ? m : 1;
    for (double& value : t) value /= divisor;
    return units(t);
  };
}

Complaints Dorefa::audit_values(const Tensor& w) const {
  if (options_.bits == 1) return levels_promise(w, 1, false);
  for (const float v : w.data<float>())
    if (!(std::abs(v) <= 1)) return {concat_text("expected weights within [-1, 1], found ", v)};
  return {};
}

NIBBLE_REGISTER_LAYER(Dorefa, "dorefa",
                      "DoReFa-Net: weights through tanh, activations clamped to [0, 1], 1 to 8 bits.");

}  // namespace nibble
