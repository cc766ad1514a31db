#include "quant/twn.h"

#include <cmath>
#include <functional>

#include "quant/blocks.h"
#include "quant/finite.h"
#include "quant/promises.h"
#include "quant/statistics.h"
#include "quant/surrogate.h"

namespace nibble {

namespace {

constexpr int64_t kStretch = 1024;

struct Above {
  double sum = 0;
  int64_t count = 0;
  void operator+=(const Above& other) {
    sum += other.sum;
    count += other.count;
  }
};

/// `magnitude`: descending.
Ternary best_of_sorted(std::span<const float> magnitude) {
  Ternary best;
  double sum = 0, highest = 0;
  for (size_t k = 0; k < magnitude.size() && magnitude[k] > 0; ++k) {
    sum += magnitude[k];
    const float next = k + 1 < magnitude.size() ? magnitude[k + 1] : 0.0f;
    if (next == magnitude[k]) continue;  // no threshold parts equal magnitudes
    const auto count = static_cast<double>(k + 1);
    if (sum * sum / count <= highest) continue;
    highest = sum * sum / count;
    best = {next, static_cast<float>(sum / count)};
  }
  return best;
}

/// The scale must be positive; where it says nothing all codes are 0.
float scale_of(const Ternary& t) { return t.alpha > 0 ? t.alpha : 1.0f; }

Tensor ternary_gradient(const Tensor& w, const Tensor& dy, const std::vector<Ternary>& fit, const BackwardRule& rule) {
  Tensor dw = Tensor::empty_like(w);
  const float *pw = w.data<float>().data(), *pdy = dy.data<float>().data();
  float* pdw = dw.mutable_data<float>().data();
  Blocks(w.numel(), static_cast<int64_t>(fit.size())).each([&](const Block& b) {
    float u[kStretch];
    const float scale = scale_of(fit[static_cast<size_t>(b.channel)]);
    for (int64_t first = b.begin; first < b.begin + b.count; first += kStretch) {
      const int64_t count = std::min(kStretch, b.begin + b.count - first);
      for (int64_t i = 0; i < count; ++i) u[i] = pw[first + i] / scale;
      const auto length = static_cast<size_t>(count);
      rule.input({u, length}, {pdy + first, length}, -1, 1, {pdw + first, length});
    }
  });
  return dw;
}

}  // namespace

std::vector<Ternary> ternary_fit(std::string_view who, const Tensor& w, int64_t channels, double factor) {
  std::vector<Ternary> fit;
  for (const double mean : mean_absolute(w, channels)) {
    if (!std::isfinite(mean)) check_finite(who, w);
    fit.push_back({static_cast<float>(factor * mean), 0});
  }
  const float* values = w.data<float>().data();
  const auto above = Blocks(w.numel(), channels).sum<Above>([&](const Block& b) {
    const double delta = fit[static_cast<size_t>(b.channel)].delta;
    Above result;
    for (int64_t i = b.begin; i < b.begin + b.count; ++i) {
      const double magnitude = std::abs(values[i]);
      result.sum += magnitude > delta ? magnitude : 0;
      result.count += magnitude > delta;
    }
    return result;
  });
  for (size_t c = 0; c < fit.size(); ++c) {
    if (above[c].count > 0) fit[c].alpha = static_cast<float>(above[c].sum / static_cast<double>(above[c].count));
  }
  return fit;
}

std::vector<Ternary> ternary_optimum(std::string_view who, const Tensor& w, int64_t channels) {
  check_finite(who, w);
  NIBBLE_CHECK(channels > 0 && w.numel() % channels == 0, who, ": shape ", w.shape(), " has no ", channels,
               " equal parts");
  const Tensor sorted = w.clone();
  std::vector<Ternary> best(static_cast<size_t>(channels));
  const auto width = static_cast<size_t>(w.numel() / channels);
  const auto values = sorted.mutable_data<float>();
  parallel_for(0, channels, 1, [&](int64_t first, int64_t last) {
    for (auto c = static_cast<size_t>(first); c < static_cast<size_t>(last); ++c) {
      const auto part = values.subspan(c * width, width);
      for (float& v : part) v = std::abs(v);
      std::ranges::sort(part, std::greater<>());
      best[c] = best_of_sorted(part);
    }
  });
  return best;
}

void Twn::Options::fields(Fields& f) {
  f.choice("role", role, {"weight"}, "what is quantized; a rule fills it in");
  f("factor", factor, "threshold over mean|w|: 0.7 in the paper's first version and its code, 0.75 in its third",
    kPositive);
  f("exact", exact, "search the threshold that fits best instead of using the factor");
  f("per_channel", per_channel, "one threshold and scale per output channel instead of one per tensor");
  f.raw("backward", backward, "a backward rule", "gradient of the weight; by default \"identity\", the paper's");
}

Twn::Twn(const Options& options) : options_(options), rule_(make_backward_rule(options.backward, "identity")) {}

namespace {

std::vector<Ternary> fit_of(const Twn::Options& o, const Tensor& w) {
  const int64_t channels = o.per_channel ? w.dim(0) : 1;
  return o.exact ? ternary_optimum("twn", w, channels) : ternary_fit("twn", w, channels, o.factor);
}

}  // namespace

Grid Twn::grid(const Tensor& x) const {
  if (!x.defined()) return Real{};
  Uniform grid{{}, {0}, -1, 1};
  for (const Ternary& t : fit_of(options_, x)) grid.scale.push_back(scale_of(t));
  return grid;
}

Tensor Twn::forward(Inputs in, const Pass&) {
  check_inputs(*this, in, 1);
  const Tensor& w = in[0];
  const std::vector<Ternary> fit = fit_of(options_, w);
  const Tensor q = Tensor::empty_like(w);
  const float* from = w.data<float>().data();
  float* to = q.mutable_data<float>().data();
  Blocks(w.numel(), static_cast<int64_t>(fit.size())).each([&](const Block& b) {
    const auto [delta, alpha] = fit[static_cast<size_t>(b.channel)];
    const float threshold = delta, level = alpha;
    for (int64_t i = b.begin; i < b.begin + b.count; ++i)
      to[i] = from[i] > threshold ? level : from[i] < -threshold ? -level : 0.0f;
  });
  return record("twn", q, {w},
                [w, fit, rule = rule_](const Tensor& dy) -> Grads { return {ternary_gradient(w, dy, fit, *rule)}; });
}

Surrogate Twn::surrogate(const Tensor& x) const { return rule_surrogate(rule_, grid(x)); }

Complaints Twn::audit_values(const Tensor& w) const {
  return levels_promise(w, options_.per_channel ? w.dim(0) : 1, true);
}

NIBBLE_REGISTER_LAYER(Twn, "twn", "Ternary weight networks: -alpha, 0 or alpha by a threshold on |w|.");

}  // namespace nibble
