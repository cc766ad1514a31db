#include "quant/abc.h"

#include <algorithm>
#include <cmath>

#include "quant/blocks.h"
#include "quant/finite.h"
#include "quant/promises.h"
#include "quant/solve.h"
#include "quant/surrogate.h"
#include "quant/threshold.h"

namespace nibble {

namespace {

constexpr float kSmallestBeta = 1e-8f, kLargest = 1e30f;
constexpr int kMost = kLargestSystem;  ///< bases
constexpr int64_t kStretch = 1024;

/// What is added up over the elements of a weight or gradient; the entries are named where they are used.
struct Sums {
  std::array<double, 2 * kMost + 2> entry{};
  Sums& operator+=(const Sums& other) {
    for (size_t i = 0; i < entry.size(); ++i) entry[i] += other.entry[i];
    return *this;
  }
};

/// The bases of a weight: base m is 1 where w > threshold[m]. Thresholds fall, so the bases that are 1 are the last.
struct Bases {
  size_t count = 1;
  std::array<float, kMost> shift{};  ///< u_m std - mean: what is added to w before the sign
  std::array<float, kMost> threshold{};
  SmallVector alpha{};
};

Bases place_bases(const Tensor& w, int count) {
  const float* values = w.data<float>().data();
  const Blocks blocks(w.numel(), 1);
  const auto n = static_cast<double>(std::max<int64_t>(1, w.numel()));
  const double mean = blocks.sum<double>([&](const Block& block) {
    double sum = 0;
    for (int64_t i = 0; i < block.count; ++i) sum += values[block.begin + i];
    return sum;
  })[0] / n;
  const double variance = blocks.sum<double>([&](const Block& block) {
    double sum = 0;
    for (int64_t i = 0; i < block.count; ++i)
      sum += (values[block.begin + i] - mean) * (values[block.begin + i] - mean);
    return sum;
  })[0] / n;
  Bases bases;
  bases.count = static_cast<size_t>(count);
  for (int m = 0; m < count; ++m) {
    const double u = count == 1 ? 0 : -1 + 2.0 * m / (count - 1), shift = u * std::sqrt(variance) - mean;
    bases.shift[static_cast<size_t>(m)] = static_cast<float>(shift);
    bases.threshold[static_cast<size_t>(m)] = codebook_threshold(-shift, true);
  }
  return bases;
}

/// Least squares: alpha of the normal equations, formed from count and sum of the weights with k bases at 1.
void fit_alpha(const Tensor& w, Bases& bases) {
  constexpr size_t kSum = kMost + 1;  // entries [0, kMost] are the counts
  const float* values = w.data<float>().data();
  const Sums sums = Blocks(w.numel(), 1).sum<Sums>([&](const Block& block) {
    Sums part;
    for (int64_t i = 0; i < block.count; ++i) {
      const float value = values[block.begin + i];
      size_t ones = 0;
      for (size_t m = 0; m < bases.count; ++m) ones += value > bases.threshold[m];
      part.entry[ones] += 1;
      part.entry[kSum + ones] += value;
    }
    return part;
  })[0];
  const auto n = static_cast<double>(std::max<int64_t>(1, w.numel()));
  constexpr double kRidge = 1e-10;
  SmallMatrix products{};
  SmallVector with_weight{};
  for (size_t i = 0; i < bases.count; ++i) {
    for (size_t ones = 0; ones <= bases.count; ++ones) {
      const double sign = ones >= bases.count - i ? 1 : -1;
      with_weight[i] += sign * sums.entry[kSum + ones] / n;
      for (size_t j = 0; j <= i; ++j) products[i][j] += (ones >= bases.count - j ? sign : -sign) * sums.entry[ones] / n;
    }
    products[i][i] += kRidge;
  }
  NIBBLE_CHECK(solve_positive_definite(static_cast<int>(bases.count), products, with_weight, bases.alpha),
               "abc: the least squares problem of a weight of shape ", w.shape(), " has no solution");
  const double most = 1.7e38 / static_cast<double>(bases.count);  // 2 alpha and the sum of all are finite floats
  for (double& alpha : bases.alpha) alpha = std::clamp(alpha, -most, most);
}

Bases bases_of(const Tensor& w, int count) {
  Bases bases = place_bases(w, count);
  fit_alpha(w, bases);
  return bases;
}

BitPlanes planes_of(const Bases& bases) {
  BitPlanes planes{{0}, {}};
  double total = 0;
  for (size_t m = 0; m < bases.count; ++m) {
    total += bases.alpha[m];
    planes.basis.push_back({static_cast<float>(2 * bases.alpha[m])});
  }
  planes.offset[0] = static_cast<float>(-total);
  return planes;
}

/// dx = sum over the bases of factor[m] dy slope(x + shift[m]).
void add_slopes(const float* x, const float* dy, float* dx, int64_t n, const Bases& bases, const BackwardRule& rule) {
  float u[kStretch], g[kStretch];
  for (int64_t first = 0; first < n; first += kStretch) {
    const int64_t count = std::min(kStretch, n - first);
    const auto length = static_cast<size_t>(count);
    std::fill_n(dx + first, count, 0.0f);
    for (size_t m = 0; m < bases.count; ++m) {
      for (int64_t i = 0; i < count; ++i) u[i] = x[first + i] + bases.shift[m];
      rule.input({u, length}, {dy + first, length}, -1, 1, {g, length});
      const auto alpha = static_cast<float>(bases.alpha[m]);
      for (int64_t i = 0; i < count; ++i) dx[first + i] += alpha * g[i];
    }
  }
}

/// One block of the activations' gradients: entries [0, N) of the sums are those of beta, [kMost, kMost + N) of v.
Sums activation_gradients(const float* x, const float* dy, float* dx, int64_t n, std::span<const float> beta,
                          std::span<const float> shift, const BackwardRule& rule) {
  float u[kStretch], g[kStretch];
  Sums sums;
  for (int64_t first = 0; first < n; first += kStretch) {
    const int64_t count = std::min(kStretch, n - first);
    const auto length = static_cast<size_t>(count);
    std::fill_n(dx + first, count, 0.0f);
    for (size_t k = 0; k < beta.size(); ++k) {
      const float threshold = codebook_threshold(0.5 - static_cast<double>(shift[k]), true);
      for (int64_t i = 0; i < count; ++i) u[i] = x[first + i] + shift[k];
      rule.input({u, length}, {dy + first, length}, 0, 1, {g, length});
      double base = 0, slopes = 0;
      for (int64_t i = 0; i < count; ++i) {
        dx[first + i] += beta[k] * g[i];
        base += x[first + i] > threshold ? dy[first + i] : -dy[first + i];
        slopes += g[i];
      }
      sums.entry[k] += base;
      sums.entry[kMost + k] += slopes * static_cast<double>(beta[k]);
    }
  }
  return sums;
}

/// The standard normal distribution's quantile, by bisection.
double normal_quantile(double p) {
  double lo = -10, hi = 10;
  for (int i = 0; i < 80; ++i) {
    const double middle = (lo + hi) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? lo : hi) = middle;
  }
  return lo;
}

}  // namespace

void Abc::Options::fields(Fields& f) {
  f("bits", bits, "number of binary bases (M for weights, N for activations)", {1, kMost});
  f.choice("role", role, {"act", "weight"}, "what is quantized; a rule fills it in");
  f.choice("gradient", gradient, {"chain", "identity"}, "weights: (sum of alpha) times the gradient, or the gradient");
  f.raw("backward", backward, "a backward rule",
        "derivative of a base; by default \"identity\" for weights and \"clipped_ste\" for activations");
}

Abc::Abc(const Options& options)
    : options_(options),
      rule_(make_backward_rule(options.backward, options.role == "weight" ? "identity" : "clipped_ste")),
      state_(Tensor::zeros({1}, DType::i64)) {
  if (options_.role == "weight") return;
  beta_ = Tensor::full({options_.bits}, 1.0f / static_cast<float>(options_.bits)).set_requires_grad();
  shift_ = Tensor::empty({options_.bits}).set_requires_grad();
  for (int k = 0; k < options_.bits; ++k)
    shift_.mutable_data<float>()[static_cast<size_t>(k)] =
        static_cast<float>(0.5 - normal_quantile((k + 1.0) / (options_.bits + 1.0)));
}

Grid Abc::grid(const Tensor& w) const {
  if (options_.role == "weight") return w.defined() ? Grid{planes_of(bases_of(w, options_.bits))} : Grid{Real{}};
  std::vector<std::pair<float, double>> steps;  // threshold and the height of the step there
  double level = 0;
  for (size_t k = 0; k < beta_.data<float>().size(); ++k) {
    const double beta = beta_.data<float>()[k];
    steps.emplace_back(codebook_threshold(0.5 - static_cast<double>(shift_.data<float>()[k]), true), 2 * beta);
    level -= beta;
  }
  std::ranges::sort(steps);
  Codebook book{{static_cast<float>(level)}, {}};
  for (const auto& [threshold, height] : steps) {
    level += height;
    book.levels.push_back(static_cast<float>(level));
    book.thresholds.push_back(threshold);
  }
  return book;
}

Tensor Abc::quantize_weight(const Tensor& w) const {
  const Bases bases = bases_of(w, options_.bits);
  const std::vector<float> by_code = levels_of(planes_of(bases), 0);
  std::array<float, kMost + 1> level{};
  for (size_t ones = 0; ones <= bases.count; ++ones)
    level[ones] = by_code[by_code.size() - (size_t{1} << (bases.count - ones))];
  Tensor y = Tensor::empty_like(w);
  const float* from = w.data<float>().data();
  float* to = y.mutable_data<float>().data();
  Blocks(w.numel(), 1).each([&](const Block& block) {
    for (int64_t i = block.begin; i < block.begin + block.count; ++i) {
      size_t ones = 0;
      for (size_t m = 0; m < bases.count; ++m) ones += from[i] > bases.threshold[m];
      to[i] = level[ones];
    }
  });
  return record("abc", y, {w},
                [w, bases, rule = rule_, pass = options_.gradient == "identity"](const Tensor& dy) -> Grads {
                  if (pass) return {dy};
                  Tensor dw = Tensor::empty_like(w);
                  const float *pw = w.data<float>().data(), *pdy = dy.data<float>().data();
                  float* pdw = dw.mutable_data<float>().data();
                  Blocks(w.numel(), 1).each([&](const Block& block) {
                    add_slopes(pw + block.begin, pdy + block.begin, pdw + block.begin, block.count, bases, *rule);
                  });
                  return {dw};
                });
}

Tensor Abc::quantize_activation(const Tensor& x) const {
  return record("abc", snap_finite(type(), x, grid()), {x, beta_, shift_},
                [x, beta = beta_.clone(), shift = shift_.clone(), rule = rule_](const Tensor& dy) -> Grads {
                  Tensor dx = Tensor::empty_like(x), dbeta = Tensor::empty_like(beta), dv = Tensor::empty_like(beta);
                  const float *px = x.data<float>().data(), *pdy = dy.data<float>().data();
                  float* pdx = dx.mutable_data<float>().data();
                  const Sums sums = Blocks(x.numel(), 1).sum<Sums>([&](const Block& block) {
                    return activation_gradients(px + block.begin, pdy + block.begin, pdx + block.begin, block.count,
                                                beta.data<float>(), shift.data<float>(), *rule);
                  })[0];
                  for (size_t k = 0; k < beta.data<float>().size(); ++k) {
                    dbeta.mutable_data<float>()[k] = static_cast<float>(sums.entry[k]);
                    dv.mutable_data<float>()[k] = static_cast<float>(sums.entry[kMost + k]);
                  }
                  return {dx, dbeta, dv};
                });
}

Tensor Abc::forward(Inputs in, const Pass&) {
  check_inputs(*this, in, 1);
  if (options_.role != "weight") return quantize_activation(in[0]);
  check_finite(type(), in[0]);
  return quantize_weight(in[0]);
}

Surrogate Abc::surrogate(const Tensor& x) const {
  const bool weight = options_.role == "weight";
  if (weight && options_.gradient == "identity") return elementwise(1, [](size_t, double w) { return w; });
  std::vector<double> factors, shifts;
  if (weight) {
    const Bases bases = bases_of(x, options_.bits);
    factors.assign(bases.alpha.begin(), bases.alpha.begin() + options_.bits);
    shifts.assign(bases.shift.begin(), bases.shift.begin() + options_.bits);
  } else {
    factors.assign(beta_.data<float>().begin(), beta_.data<float>().end());
    shifts.assign(shift_.data<float>().begin(), shift_.data<float>().end());
  }
  return elementwise(1, [factors, shifts, lowest = weight ? -1.0 : 0.0, rule = rule_](size_t, double v) {
    double sum = 0;
    for (size_t k = 0; k < factors.size(); ++k) sum += factors[k] * rule->surrogate(v + shifts[k], lowest, 1);
    return sum;
  });
}

void Abc::visit(StateVisitor& visitor) {
  if (options_.role == "weight") return;
  visitor.param("beta", beta_, {.decay = false});
  visitor.param("shift", shift_, {.decay = false});
  visitor.buffer("state", state_);
}

void Abc::after_update() {
  if (options_.role == "weight") return;
  const auto guard = [this](const Tensor& parameter, float lowest) {
    for (float& value : parameter.mutable_data<float>()) {
      // NaN becomes the lowest value, too.
      const float kept = value >= lowest ? std::min(value, kLargest) : lowest;
      if (kept == value) continue;
      value = kept;
      ++state_.mutable_data<int64_t>()[0];
    }
  };
  guard(beta_, kSmallestBeta);
  guard(shift_, -kLargest);
}

Complaints Abc::audit_state(const Tensor&) const {
  return options_.role == "weight" ? Complaints{} : positive_promise("beta", beta_);
}

NIBBLE_REGISTER_LAYER(Abc, "abc",
                      "Accurate binary convolution (ABC-Net): sums of binary bases, weights or activations.");

}  // namespace nibble
