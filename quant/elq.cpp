#include "quant/elq.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "quant/promises.h"
#include "quant/statistics.h"
#include "quant/threshold.h"

namespace nibble {

namespace {

constexpr int64_t kGrain = 1 << 14;
/// Bounds of alpha: a layer of zeros still has a grid, and 2 alpha is still finite.
constexpr double kSmallestAlpha = 1e-8, kLargestAlpha = 1e38;

double mean_of(const Tensor& w) {
  double sum = 0;
  for (const float value : w.data<float>()) sum += value;
  return sum / static_cast<double>(std::max<int64_t>(1, w.numel()));
}

}  // namespace

void Elq::Options::fields(Fields& f) {
  IncrementalQuantizer::Options::fields(f);
  f.choice("levels", levels, {"ternary", "binary"}, "-alpha, 0, alpha, or -alpha, alpha");
  f.choice("alpha_rule", alpha_rule, {"abs", "literal"}, "mean|W| + beta max|W|, or the paper's mean(W) + beta max(W)");
  f("beta", beta, "beta of eq. 10", kNonNegative);
  f("alpha", alpha, "alpha itself; 0 takes it from the weight that training starts with", kNonNegative);
  f("bounds", bounds, "interval bound factors, one per phase, falling to 0 (sec. 3.3)", kNonNegative);
  f.choice("bands", bands, {"center", "literal"},
           "which weights a binary layer fixes first: those around 0, or the ternary intervals");
  f.choice("lambda_rule", lambda_rule, {"phase", "constant", "lr"},
           "length of the pull: rho alpha lr / (sum of lr over the phase), lambda, or lambda lr");
  f("rho", rho, "farthest that the pull alone moves a weight in a phase, in units of alpha; 0 switches it off",
    kNonNegative);
  f("lambda", lambda, "for \"lambda_rule\": \"constant\" or \"lr\"", kNonNegative);
  f("lambda_clip", lambda_clip, "the pull never goes beyond the quantized value");
}

Elq::Elq(const Options& options)
    : IncrementalQuantizer(options, static_cast<int>(options.bounds.size())), options_(options) {
  const std::vector<double>& bounds = options_.bounds;
  NIBBLE_CHECK(!bounds.empty() && bounds.back() == 0, "elq: bounds must end with 0, got ", Json(bounds).dump());
  for (size_t i = 1; i < bounds.size(); ++i)
    NIBBLE_CHECK(bounds[i] < bounds[i - 1], "elq: bounds must fall, got ", bounds[i], " after ", bounds[i - 1]);
}

float Elq::centre_of(const Tensor& w) const {
  double alpha = options_.alpha;
  if (alpha == 0 && options_.alpha_rule == "abs") {
    alpha = mean_absolute(w, 1)[0] + options_.beta * static_cast<double>(max_absolute(w, 1)[0]);
  } else if (alpha == 0) {
    alpha = mean_of(w) + options_.beta * static_cast<double>(extremes(w, 1)[0].highest);
  }
  return static_cast<float>(std::clamp(alpha, kSmallestAlpha, kLargestAlpha));
}

Grid Elq::grid_of(float alpha) const {
  // Half to even takes +-alpha/2 to 0, as eq. 11 does.
  if (ternary()) return Uniform{{alpha}, {0}, -1, 1};
  return Codebook{{-alpha, alpha}, {codebook_threshold(0, true)}};
}

void Elq::join(int phase, const Tensor& w, std::span<uint8_t> free) const {
  const double first = options_.bounds[0], bound = options_.bounds[static_cast<size_t>(phase)];
  const bool around_zero = !ternary() && options_.bands == "center";
  const double lo = around_zero ? 0 : bound, hi = around_zero ? 2 * (first - bound) : 2 * first - bound;
  const double alpha = centre();
  const auto weights = w.data<float>();
  for (size_t i = 0; i < free.size(); ++i) {
    const double magnitude = std::abs(static_cast<double>(weights[i])) / alpha;
    if (magnitude >= lo && magnitude < hi) free[i] = 0;
  }
}

float Elq::lambda_at(const TrainClock& clock) const {
  if (options_.lambda_rule == "constant") return static_cast<float>(options_.lambda);
  if (options_.lambda_rule == "lr") return static_cast<float>(options_.lambda * clock.lr);
  return static_cast<float>(options_.rho * static_cast<double>(centre()) * clock.lr_share);
}

void Elq::prepare(const Tensor& w, const TrainClock& clock) {
  const float alpha = centre(), lambda = lambda_at(clock);
  if (!pull_.defined()) pull_ = Tensor::empty(w.shape());
  const Tensor quantized = snap(w, grid_of(alpha));
  float *weights = w.mutable_data<float>().data(), *pull = pull_.mutable_data<float>().data();
  const float* to = quantized.data<float>().data();
  const bool limited = options_.lambda_clip;
  parallel_for(0, w.numel(), kGrain, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      weights[i] = std::min(std::max(weights[i], -alpha), alpha);
      const float distance = weights[i] - to[i], farthest = std::abs(distance);
      const float length = limited ? std::min(lambda, farthest) : farthest > 0 ? lambda : 0.0f;
      pull[i] = std::copysign(length, distance);
    }
  });
  pulls_ = true;
}

void Elq::constrain(const Tensor& w) {
  if (phase() < 0) return;
  const float alpha = centre();
  float* weights = w.mutable_data<float>().data();
  // A fixed weight is an outer centre or inside: it has no pull and the clip does not change it.
  if (pulls_) {
    const float* pull = pull_.data<float>().data();
    parallel_for(0, w.numel(), kGrain, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) weights[i] = std::min(std::max(weights[i] - pull[i], -alpha), alpha);
    });
    pulls_ = false;
    return;
  }
  parallel_for(0, w.numel(), kGrain, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) weights[i] = std::min(std::max(weights[i], -alpha), alpha);
  });
}

Complaints Elq::audit_values(const Tensor& w) const { return levels_promise(w, 1, ternary()); }

NIBBLE_REGISTER_LAYER(Elq, "elq",
                      "Explicit loss-error-aware quantization (ELQ): ternary or binary weights, fixed phase by phase.");

}  // namespace nibble
