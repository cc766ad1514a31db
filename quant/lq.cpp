#include "quant/lq.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "quant/finite.h"
#include "quant/promises.h"
#include "quant/statistics.h"
#include "quant/surrogate.h"

namespace nibble {

namespace {

constexpr float kSmallest = 1e-8f, kLargest = 1e37f;  ///< 8 bits of kLargest still have finite levels
constexpr int kInitialIterations = 10;
constexpr double kThirdQuartile = 0.6745;  ///< of the normal distribution (sec. 2.3's uniform quantizer)

/// Lowest and highest level of every channel.
std::vector<std::pair<float, float>> ends_of(const LevelTables& tables) {
  std::vector<std::pair<float, float>> ends;
  for (int64_t c = 0; c < tables.channels(); ++c) ends.emplace_back(tables.levels(c).front(), tables.levels(c).back());
  return ends;
}

/// The rule on every channel with that channel's ends.
Tensor input_gradient(const Tensor& x, const Tensor& dy, const std::vector<std::pair<float, float>>& ends,
                      const BackwardRule& rule) {
  Tensor dx = dy.unique() ? dy : Tensor::empty_like(dy);
  const int64_t width = std::max<int64_t>(1, x.numel() / static_cast<int64_t>(ends.size()));
  const BackwardRule::View u = x.data<float>(), in = dy.data<float>();
  const std::span<float> out = dx.mutable_data<float>();
  parallel_for(0, x.numel(), 1 << 14, [&](int64_t first, int64_t last) {
    while (first < last) {
      const int64_t channel = first / width, end = std::min(last, (channel + 1) * width);
      const auto [lo, hi] = ends[static_cast<size_t>(channel)];
      const auto at = static_cast<size_t>(first), n = static_cast<size_t>(end - first);
      rule.input(u.subspan(at, n), in.subspan(at, n), lo, hi, out.subspan(at, n));
      first = end;
    }
  });
  return dx;
}

/// dL/dv_k = sum of dy e_k, for table 1's variant.
Tensor basis_gradient(const BasisForm& form, const Tensor& x, const Tensor& dy, const LevelTables& tables) {
  LevelPass pass;
  pass.run("lq", x, tables, dy.data<float>().data(), nullptr);
  Tensor dv = Tensor::empty({tables.channels(), form.bits});
  float* to = dv.mutable_data<float>().data();
  for (int64_t c = 0; c < tables.channels(); ++c) {
    const SmallVector sums = sums_by_bit(form, tables.codes(c), pass.sums(c));
    for (int k = 0; k < form.bits; ++k) *to++ = static_cast<float>(sums[static_cast<size_t>(k)]);
  }
  return dv;
}

}  // namespace

void Lq::Options::fields(Fields& f) {
  f("bits", bits, "width of the codes", {1, 8});
  f.choice("role", role, {"act", "weight"}, "what is quantized; a rule fills it in");
  f("signed", is_signed, "codes of -1 and +1 for activations too, instead of 0 and 1; weights always have them");
  f("per_channel", per_channel, "one basis per output channel instead of one per tensor (weights only)");
  f("channels", channels, "number of output channels; a rule fills it in", {1, 1 << 20});
  f("fan_out", fan_out,
    "kernel height * width * output channels, for the first basis; a rule fills it in; 0 takes "
    "the channels",
    kNonNegative);
  f.choice("train", train, {"qem", "bp"},
           "how the basis learns: refitted to the data in every pass, or by gradient descent (the paper's table 1)");
  f("iterations", iterations, "T: how often a pass refits the basis (the paper's table 2)", {1, 100});
  f("average", average, "weight of the old basis when the refitted one is averaged in", kFraction);
  f("ema_debias", ema_debias, "de-biased average, as the authors' code has it: the first update replaces the basis");
  f("proximal", proximal, "pull to the old basis that keeps the refit from being singular", kNonNegative);
  f.choice("init", init, {"normal", "data"},
           "first basis: the paper's uniform levels for normal data of unit deviation (weights: deviation "
           "sqrt(2 / fan_out)), or the same scaled and refitted to the first training tensor");
  f.raw("backward", backward, "a backward rule",
        "gradient of the input; by default the paper's, \"identity\" for weights and \"below\" for activations");
}

Lq::Lq(const Options& options)
    : options_(options),
      form_{options.bits, options.is_signed || options.role == "weight"},
      rule_(make_backward_rule(options.backward, options.role == "weight" ? "identity" : "below")) {
  const int64_t channels = options_.role == "weight" && options_.per_channel ? options_.channels : 1;
  basis_ = Tensor::empty({channels, options_.bits});
  basis_.set_requires_grad(trains_basis());
  set_normal_basis();
  next_ = basis_.clone();
  const int64_t state[] = {options_.init == "normal", 0, 0, 0};
  state_ = Tensor::from<int64_t>({4}, state);
}

/// Section 2.3: v_j = 2^j times 0.6745 sqrt(2/n) / 2^(K-1) for weights, times 0.6745 * 2 / (2^K - 1) for activations.
void Lq::set_normal_basis() {
  const double n = options_.fan_out > 0 ? static_cast<double>(options_.fan_out) : options_.channels;
  const double base = options_.role == "weight" ? kThirdQuartile * std::sqrt(2 / n) / (1 << (options_.bits - 1))
                                                : kThirdQuartile * 2 / ((1 << options_.bits) - 1);
  const auto bits = static_cast<size_t>(options_.bits);
  const auto basis = basis_.mutable_data<float>();
  for (size_t i = 0; i < basis.size(); ++i) basis[i] = static_cast<float>(std::ldexp(base, static_cast<int>(i % bits)));
}

/// The same for the deviation that the mean of |x| says, where x is normal (weights) or what a ReLU leaves of it.
void Lq::set_basis_from(const Tensor& x) {
  const bool weight = options_.role == "weight";
  const double n = options_.fan_out > 0 ? static_cast<double>(options_.fan_out) : options_.channels;
  const double assumed = weight ? std::sqrt(2 / n) : 1.0, mean_of_unit = form_.is_signed ? 0.797885 : 0.398942;
  const std::vector<double> means = mean_absolute(x, channels());
  const auto bits = static_cast<size_t>(options_.bits);
  const auto basis = basis_.mutable_data<float>();
  for (size_t i = 0; i < basis.size(); ++i) {
    const double mean = means[i / bits];
    if (mean > 0) basis[i] = bounded(basis[i] * mean / mean_of_unit / assumed, basis[i]);
  }
  fit(x, kInitialIterations, nullptr);
  for (size_t i = 0; i < basis.size(); ++i) basis[i] = bounded(fitted_[i / bits][i % bits], basis[i]);
  state_.mutable_data<int64_t>()[0] = 1;
}

/// QEM (algorithm 1): leaves v^(T) in fitted_ and, if y is given, the levels of v^(T-1) there.
void Lq::fit(const Tensor& x, int iterations, float* y) {
  const auto stored = basis_.data<float>();
  const auto bits = static_cast<size_t>(options_.bits);
  current_.assign(stored.begin(), stored.end());
  fitted_.resize(static_cast<size_t>(channels()));
  for (int t = 1; t <= iterations; ++t) {
    tables_.build(basis_grid(form_, current_));
    pass_.run("lq", x, tables_, x.data<float>().data(), t == iterations ? y : nullptr);
    for (int64_t c = 0; c < channels(); ++c) {
      float* current = current_.data() + static_cast<size_t>(c) * bits;
      SmallVector& v = fitted_[static_cast<size_t>(c)];
      std::copy_n(current, bits, v.begin());
      refit(form_, tables_.codes(c), pass_.sums(c), options_.proximal, v);
      if (t == iterations) continue;
      for (size_t k = 0; k < bits; ++k) current[k] = std::clamp(static_cast<float>(v[k]), -kLargest, kLargest);
    }
  }
}

/// v <- a v + (1 - a) v*. Dividing by 1 - a^t an average that starts at 0 is the same as giving v* the weight below.
void Lq::average() {
  const auto state = state_.mutable_data<int64_t>();
  const int64_t averages = ++state[2];
  double weight = 1 - options_.average;
  if (options_.ema_debias && weight > 0) weight /= 1 - std::pow(options_.average, static_cast<double>(averages));
  const auto bits = static_cast<size_t>(options_.bits);
  const auto before = basis_.data<float>();
  const auto after = next_.mutable_data<float>();
  for (size_t i = 0; i < before.size(); ++i)
    after[i] = bounded(before[i] + weight * (fitted_[i / bits][i % bits] - before[i]), before[i]);
  state[3] = 1;
}

void Lq::take_over() {
  int64_t& waits = state_.mutable_data<int64_t>()[3];
  if (waits != 0) basis_.copy_from(next_);
  waits = 0;
}

/// The value, kept finite and, if it was positive before, positive.
float Lq::bounded(double value, float before) {
  const float least = before > 0 ? kSmallest : -kLargest;
  if (value >= least && value <= kLargest) return static_cast<float>(value);
  ++state_.mutable_data<int64_t>()[1];
  return value > kLargest ? kLargest : least;
}

Grid Lq::grid(const Tensor&) const { return basis_grid(form_, basis_.data<float>()); }

Tensor Lq::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  const Tensor& x = in[0];
  if (pass.mode == Mode::eval) return snap_finite("lq", x, grid());
  if (state_.data<int64_t>()[0] == 0) {
    check_finite("lq", x);
    set_basis_from(x);
  }
  if (trains_basis()) {
    tables_.build(std::get<BitPlanes>(grid()));
    return record("lq", snap_finite("lq", x, grid()), {x, basis_},
                  [x, tables = tables_, form = form_, rule = rule_](const Tensor& dy) -> Grads {
                    Tensor dv = basis_gradient(form, x, dy, tables);
                    return {input_gradient(x, dy, ends_of(tables), *rule), dv};
                  });
  }
  take_over();
  Tensor y = Tensor::empty_like(x);
  fit(x, options_.iterations, y.mutable_data<float>().data());
  average();
  return record("lq", y, {x}, [x, ends = ends_of(tables_), rule = rule_](const Tensor& dy) -> Grads {
    return {input_gradient(x, dy, ends, *rule)};
  });
}

Surrogate Lq::surrogate(const Tensor&) const {
  return elementwise(static_cast<size_t>(channels()), [ends = ends_of(tables_), rule = rule_](size_t c, double x) {
    return rule->surrogate(x, ends[c].first, ends[c].second);
  });
}

void Lq::visit(StateVisitor& visitor) {
  if (trains_basis()) {
    visitor.param("basis", basis_, {.decay = false});
  } else {
    visitor.buffer("basis", basis_);
    visitor.buffer("next", next_);
  }
  visitor.buffer("state", state_);
}

void Lq::after_update() {
  take_over();
  if (!trains_basis()) return;
  for (float& v : basis_.mutable_data<float>()) v = bounded(v, 1);
}

Complaints Lq::audit_state(const Tensor&) const {
  Complaints wrong = positive_promise("basis", basis_);
  std::ranges::copy(started_promise(state_.data<int64_t>()[0] != 0), std::back_inserter(wrong));
  return wrong;
}

NIBBLE_REGISTER_LAYER(Lq, "lq",
                      "Learned basis (LQ-Nets): weights in codes of -1 and +1 per output channel, activations in codes "
                      "of 0 and 1, 1 to 8 bits.");

}  // namespace nibble
