#include "quant/ttq.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/blocks.h"
#include "quant/finite.h"
#include "quant/promises.h"
#include "quant/statistics.h"
#include "quant/surrogate.h"
#include "quant/twn.h"

namespace nibble {

namespace {

constexpr float kSmallest = 1e-8f, kLargest = 1e30f;

struct Sums {
  double up = 0, down = 0;
  void operator+=(const Sums& other) {
    up += other.up;
    down += other.down;
  }
};

/// dw, and the sums of dy over both outer zones.
Sums zone_gradients(const Tensor& w, const Tensor& dy, const Tensor& dw, float delta, float wp, float wn,
                    const BackwardRule& rule) {
  const auto u = w.data<float>(), g = dy.data<float>();
  const auto to = dw.mutable_data<float>();
  const auto sums = Blocks(w.numel(), 1).sum<Sums>([&](const Block& b) {
    const auto begin = static_cast<size_t>(b.begin), count = static_cast<size_t>(b.count);
    const float *x = u.data() + begin, *from = g.data() + begin;
    float* out = to.data() + begin;
    const float most = delta, up = wp, down = wn;
    rule.input({x, count}, {from, count}, -down, up, {out, count});
    Sums result;
    for (size_t i = 0; i < count; ++i) {
      const bool above = x[i] > most, below = x[i] < -most;
      result.up += above ? from[i] : 0.0f;
      result.down += below ? from[i] : 0.0f;
      out[i] *= above ? up : below ? down : 1.0f;
    }
    return result;
  });
  return sums[0];
}

}  // namespace

void Ttq::Options::fields(Fields& f) {
  f.choice("role", role, {"weight"}, "what is quantized; a rule fills it in");
  f("threshold", threshold, "t: weights within t max|w| become 0", {0, 1});
  f("sparsity", sparsity, "r: this part of the weights becomes 0, whatever their magnitudes; 0 uses the threshold",
    {0, 0.999});
  f.choice("init", init, {"one", "twn"},
           "where Wp and Wn start: at 1 as in the released code, or at the TWN scale of the weights");
  f.raw("backward", backward, "a backward rule", "further factor of the weight's gradient; by default \"identity\"");
}

Ttq::Ttq(const Options& options)
    : options_(options),
      rule_(make_backward_rule(options.backward, "identity")),
      wp_(Tensor::of({1.0f}).set_requires_grad()),
      wn_(Tensor::of({1.0f}).set_requires_grad()) {
  const int64_t state[] = {options.init == "one", 0};
  state_ = Tensor::from<int64_t>({2}, state);
}

float Ttq::delta(const Tensor& w) const {
  const float largest = max_absolute(w, 1)[0];
  if (!std::isfinite(largest)) check_finite(type(), w);
  if (options_.sparsity == 0 || w.numel() == 0) return static_cast<float>(options_.threshold * largest);
  std::vector<float> magnitudes;
  magnitudes.reserve(w.data<float>().size());
  for (const float v : w.data<float>()) magnitudes.push_back(std::abs(v));
  const auto zeros = static_cast<std::ptrdiff_t>(std::llround(options_.sparsity * static_cast<double>(w.numel())));
  if (zeros == 0) return 0;
  const auto quantile = magnitudes.begin() + (zeros - 1);
  std::nth_element(magnitudes.begin(), quantile, magnitudes.end());
  return *quantile;
}

Codebook Ttq::book(float delta) const {
  // -delta itself belongs to the middle, so the threshold lies just below it.
  const float below = std::nextafter(-delta, -std::numeric_limits<float>::infinity());
  return {{-wn_.item(), 0.0f, wp_.item()}, {std::max(below, std::numeric_limits<float>::lowest()), delta}};
}

Grid Ttq::grid(const Tensor& x) const {
  if (!x.defined()) return Real{};
  return book(delta(x));
}

Tensor Ttq::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  const Tensor& w = in[0];
  const float most = delta(w);
  if (pass.mode == Mode::train) {
    if (state_.data<int64_t>()[0] == 0) {
      const float alpha = std::clamp(ternary_fit(type(), w, 1, 0.7)[0].alpha, kSmallest, kLargest);
      wp_.mutable_data<float>()[0] = wn_.mutable_data<float>()[0] = alpha;
      state_.mutable_data<int64_t>()[0] = 1;
    }
    used_[0] = wp_.item();
    used_[1] = wn_.item();
  }
  return record("ttq", snap(w, book(most)), {w, wp_, wn_},
                [w, most, wp = wp_.item(), wn = wn_.item(), rule = rule_](const Tensor& dy) -> Grads {
                  Tensor dw = Tensor::empty_like(w);
                  const Sums sums = zone_gradients(w, dy, dw, most, wp, wn, *rule);
                  return {dw, Tensor::of({static_cast<float>(sums.up)}), Tensor::of({static_cast<float>(-sums.down)})};
                });
}

Surrogate Ttq::surrogate(const Tensor& x) const {
  return elementwise(1, [most = static_cast<double>(delta(x)), up = static_cast<double>(wp_.item()),
                         down = static_cast<double>(wn_.item()), rule = rule_](size_t, double w) {
    const double factor = w > most ? up : w < -most ? down : 1;
    return factor * rule->surrogate(w, -down, up);
  });
}

void Ttq::visit(StateVisitor& visitor) {
  visitor.param("wp", wp_, {.decay = false});
  visitor.param("wn", wn_, {.decay = false});
  visitor.buffer("state", state_);
}

void Ttq::after_update() {
  for (int k = 0; k < 2; ++k) {
    float& level = (k == 0 ? wp_ : wn_).mutable_data<float>()[0];
    if (level >= kSmallest && level <= kLargest) continue;
    level = std::isfinite(level) ? std::clamp(level, kSmallest, kLargest) : used_[k];
    ++state_.mutable_data<int64_t>()[1];
  }
}

Complaints Ttq::audit_values(const Tensor& w) const { return levels_promise(w, 1, true, false); }

Complaints Ttq::audit_state(const Tensor&) const {
  Complaints wrong = positive_promise("wp", wp_);
  std::ranges::copy(positive_promise("wn", wn_), std::back_inserter(wrong));
  return wrong;
}

NIBBLE_REGISTER_LAYER(Ttq, "ttq", "Trained ternary quantization: -Wn, 0 or Wp with both levels learned.");

}  // namespace nibble
