#include "quant/qil.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/parallel.h"
#include "quant/finite.h"
#include "quant/promises.h"
#include "quant/statistics.h"
#include "quant/surrogate.h"
#include "quant/threshold.h"

namespace nibble {

namespace {

constexpr float kSmallestWidth = 1e-4f, kSmallestGamma = 1e-2f, kLargest = 1e30f;
constexpr int64_t kBlock = 4096, kStretch = 1024;

/// The parameters of a forward pass, as its backward needs them.
struct Interval {
  double center, width, gamma;
  int steps;
  bool is_weight;

  /// Where the transformed value is k / steps.
  double position(double k) const {
    return center - width + 2 * width * (gamma == 1 ? k / steps : std::pow(k / steps, 1 / gamma));
  }
};

using Sums = std::array<double, 3>;  ///< gradients of center, width and gamma

/// The gradients of one stretch, of at most kStretch elements.
Sums stretch_gradients(const float* x, const float* dy, float* dx, int64_t n, const Interval& at,
                       const BackwardRule& rule) {
  float u[kStretch], g[kStretch];
  const auto center = static_cast<float>(at.center), width = static_cast<float>(at.width);
  const auto half = static_cast<float>(0.5 / at.width), steps = static_cast<float>(at.steps);
  for (int64_t i = 0; i < n; ++i) {
    const float v = at.is_weight ? std::abs(x[i]) : x[i];
    u[i] = steps * ((v - (center - width)) / (2 * width));
  }
  const auto length = static_cast<size_t>(n);
  rule.input({u, length}, {dy, length}, 0, steps, {g, length});
  Sums sums{};
  const auto slope = static_cast<float>(at.gamma) * half;
  if (at.gamma == 1 && !at.is_weight) {
    for (int64_t i = 0; i < n; ++i) {
      dx[i] = g[i] * slope;
      sums[0] -= dx[i];
      sums[1] -= static_cast<double>(dx[i]) * ((x[i] - center) / width);
    }
    return sums;
  }
  for (int64_t i = 0; i < n; ++i) {
    // 0^(gamma - 1) has no value for gamma < 1, and ln 0 none at all.
    const double z = std::max(static_cast<double>(u[i]) / at.steps, 1e-6);
    const double power = at.gamma == 1 ? 1 : std::pow(z, at.gamma - 1);
    const bool negative = at.is_weight && x[i] < 0;
    dx[i] = static_cast<float>(g[i] * power * slope);
    const double signed_dx = negative ? -dx[i] : dx[i], v = negative ? -x[i] : x[i];
    sums[0] -= signed_dx;
    sums[1] -= signed_dx * ((v - at.center) / at.width);
    sums[2] += (negative ? -g[i] : g[i]) * power * z * std::log(z);
  }
  return sums;
}

}  // namespace

void Qil::Options::fields(Fields& f) {
  f("bits", bits, "width of the codes", {2, 8});
  f.choice("role", role, {"act", "weight"}, "what is quantized; a rule fills it in");
  f("gamma", gamma, "initial exponent of the weights' transformer", {1e-2, 100});
  f("learn_gamma", learn_gamma, "train gamma (weights only)");
  f("center", center, "initial centre of the interval, if width is given", kNonNegative);
  f("width", width, "initial half-width of the interval; 0 takes both from the first training tensor", kNonNegative);
  f("lr_factor", lr_factor, "multiplies the learning rate of the interval", kNonNegative);
  f.raw("backward", backward, "a backward rule", "gradient of the rounding; by default \"qil\"");
}

Qil::Qil(const Options& options)
    : options_(options),
      steps_(options.role == "weight" ? (1 << (options.bits - 1)) - 1 : (1 << options.bits) - 1),
      rule_(make_backward_rule(options.backward, "qil")) {
  const bool given = options_.width > 0;
  NIBBLE_CHECK(weights() || (!options_.learn_gamma && options_.gamma == 1), "qil: gamma is for weights only");
  center_ = Tensor::full({1}, given ? static_cast<float>(options_.center) : 0.5f).set_requires_grad();
  width_ = Tensor::full({1}, given ? static_cast<float>(options_.width) : 0.5f).set_requires_grad();
  if (weights()) gamma_ = Tensor::full({1}, static_cast<float>(options_.gamma)).set_requires_grad(options_.learn_gamma);
  const int64_t state[] = {given, 0};
  state_ = Tensor::from<int64_t>({2}, state);
  after_update();
}

Grid Qil::grid(const Tensor&) const {
  const Interval at{center_.item(), width_.item(), weights() ? gamma_.item() : 1.0, steps_, weights()};
  const auto level = [&](int code) { return static_cast<float>(static_cast<double>(code) / steps_); };
  Codebook book;
  if (weights()) {
    for (int code = -steps_; code < 0; ++code) {
      // An interval that would begin below 0 is cut there; 0 itself belongs to the levels above.
      const double middle = std::max(at.position(-code - 0.5), 0.0);
      book.levels.push_back(level(code));
      book.thresholds.push_back(codebook_threshold(-middle, middle == 0 || code % 2 != 0));
    }
  }
  book.levels.push_back(0);
  for (int code = 1; code <= steps_; ++code) {
    const double middle = weights() ? std::max(at.position(code - 0.5), 0.0) : at.position(code - 0.5);
    book.levels.push_back(level(code));
    book.thresholds.push_back(codebook_threshold(middle, (weights() && middle == 0) || code % 2 == 0));
  }
  // Neighbours that are the same number but for its belonging may come out one float apart the wrong way round.
  for (size_t i = 1; i < book.thresholds.size(); ++i)
    book.thresholds[i] = std::max(book.thresholds[i], book.thresholds[i - 1]);
  return book;
}

void Qil::initialize_interval(const Tensor& x) {
  float highest = 0;
  if (weights()) {
    highest = max_absolute(x, 1)[0];
  } else if (x.numel() > 0) {
    std::vector<float> values(x.data<float>().begin(), x.data<float>().end());
    const auto rank = static_cast<std::ptrdiff_t>(std::ceil(0.999 * static_cast<double>(values.size()))) - 1;
    std::nth_element(values.begin(), values.begin() + rank, values.end());
    highest = values[static_cast<size_t>(rank)];
  }
  const float half = std::clamp(0.5f * highest, kSmallestWidth, kLargest);
  center_.mutable_data<float>()[0] = half;
  width_.mutable_data<float>()[0] = half;
  state_.mutable_data<int64_t>()[0] = 1;
}

Tensor Qil::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  const Tensor& x = in[0];
  if (pass.mode == Mode::train && state_.data<int64_t>()[0] == 0) {
    check_finite(type(), x);
    initialize_interval(x);
  }
  const Interval at{center_.item(), width_.item(), weights() ? gamma_.item() : 1.0, steps_, weights()};
  const auto backward = [x, at, rule = rule_](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty_like(x);
    const int64_t blocks = (x.numel() + kBlock - 1) / kBlock;
    std::vector<Sums> partial(static_cast<size_t>(blocks), Sums{});
    const float *px = x.data<float>().data(), *pdy = dy.data<float>().data();
    float* pdx = dx.mutable_data<float>().data();
    parallel_for(0, blocks, 4, [&](int64_t first, int64_t last) {
      for (int64_t b = first; b < last; ++b) {
        const int64_t end = std::min(x.numel(), (b + 1) * kBlock);
        for (int64_t i = b * kBlock; i < end; i += kStretch) {
          const Sums part = stretch_gradients(px + i, pdy + i, pdx + i, std::min(kStretch, end - i), at, *rule);
          for (size_t k = 0; k < part.size(); ++k) partial[static_cast<size_t>(b)][k] += part[k];
        }
      }
    });
    Sums total{};
    for (const Sums& part : partial)
      for (size_t k = 0; k < part.size(); ++k) total[k] += part[k];
    Grads grads{dx};
    for (size_t k = 0; k < (at.is_weight ? 3u : 2u); ++k)
      grads.push_back(Tensor::full({1}, static_cast<float>(total[k])));
    return grads;
  };
  const Tensor y = snap_finite(type(), x, grid());
  if (weights()) return record("qil", y, {x, center_, width_, gamma_}, backward);
  return record("qil", y, {x, center_, width_}, backward);
}

Surrogate Qil::surrogate(const Tensor&) const {
  const Interval at{center_.item(), width_.item(), weights() ? gamma_.item() : 1.0, steps_, weights()};
  return elementwise(1, [at, rule = rule_](size_t, double x) {
    const double v = at.is_weight ? std::abs(x) : x, z = (v - at.center + at.width) / (2 * at.width);
    const double y = rule->surrogate(at.steps * z, 0, at.steps) / at.steps;
    return std::copysign(1.0, at.is_weight ? x : 1.0) * (at.gamma == 1 ? y : std::pow(std::max(y, 0.0), at.gamma));
  });
}

void Qil::visit(StateVisitor& visitor) {
  const ParamTraits traits{.decay = false, .lr_factor = static_cast<float>(options_.lr_factor)};
  visitor.param("center", center_, traits);
  visitor.param("width", width_, traits);
  if (options_.learn_gamma) {
    visitor.param("gamma", gamma_, traits);
  } else if (weights()) {
    visitor.buffer("gamma", gamma_);
  }
  visitor.buffer("state", state_);
}

void Qil::after_update() {
  const auto guard = [this](const Tensor& parameter, float lowest) {
    float& value = parameter.mutable_data<float>()[0];
    // NaN becomes the lowest value, too.
    const float kept = value >= lowest ? std::min(value, kLargest) : lowest;
    if (kept == value) return;
    value = kept;
    ++state_.mutable_data<int64_t>()[1];
  };
  guard(center_, 0);
  guard(width_, kSmallestWidth);
  if (weights()) guard(gamma_, kSmallestGamma);
}

Complaints Qil::audit_state(const Tensor&) const {
  Complaints wrong = positive_promise("width", width_);
  if (weights()) std::ranges::copy(positive_promise("gamma", gamma_), std::back_inserter(wrong));
  std::ranges::copy(started_promise(state_.data<int64_t>()[0] != 0), std::back_inserter(wrong));
  return wrong;
}

NIBBLE_REGISTER_LAYER(Qil, "qil", "Learned quantization intervals (QIL): weights or activations, 2 to 8 bits.");

}  // namespace nibble
