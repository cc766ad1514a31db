#include "quant/hwgq.h"

#include "quant/blocks.h"
#include "quant/surrogate.h"
#include "quant/threshold.h"

namespace nibble {

namespace {

/// Lloyd's levels for the positive half of a standard normal distribution, with no level at 0.
const std::vector<double> kNonUniform[] = {{0.7979},
                                           {0.3177, 1.0001, 1.8936},
                                           {0.1457, 0.4413, 0.7504, 1.0856, 1.4675, 1.9386, 2.6251},
                                           {0.0702, 0.2109, 0.3531, 0.4977, 0.6459, 0.7989, 0.9585, 1.1266, 1.3061,
                                            1.5009, 1.7168, 1.9632, 2.2574, 2.6366, 3.2136}};
constexpr double kUniformStep[] = {0.799, 0.538, 0.3217, 0.185};

std::vector<double> positive_levels(const Hwgq::Options& o) {
  if (!o.levels.empty()) return o.levels;
  if (o.table == "nonuniform") return kNonUniform[o.bits - 1];
  std::vector<double> levels;
  for (int i = 1; i < 1 << o.bits; ++i) levels.push_back(i * kUniformStep[o.bits - 1]);
  return levels;
}

Codebook half_wave_grid(const std::vector<double>& positive) {
  NIBBLE_CHECK(positive.size() <= 255, "hwgq: expected at most 255 positive levels, got ", positive.size());
  Codebook book{{0.0f}, {0.0f}};
  for (size_t i = 0; i < positive.size(); ++i) {
    const double below = i == 0 ? 0 : positive[i - 1];
    NIBBLE_CHECK(positive[i] > below, "hwgq: the levels must be positive and ascend, level ", i, " is ", positive[i],
                 " after ", below);
    book.levels.push_back(static_cast<float>(positive[i]));
    if (i > 0) book.thresholds.push_back(codebook_threshold((below + positive[i]) / 2, false));
  }
  return book;
}

}  // namespace

void Hwgq::Options::fields(Fields& f) {
  f.choice("role", role, {"act", "weight"}, "what is quantized; a rule fills it in");
  f("bits", bits, "activations: width of the codes; 2^bits - 1 levels are positive", {1, 4});
  f.choice("table", table, {"uniform", "nonuniform"}, "activations: equally spaced levels or Lloyd's");
  f("levels", levels, "activations: the positive levels, ascending, instead of a table", kPositive);
  f("per_channel", per_channel, "weights: one scale per output channel, as in the paper, instead of one per tensor");
  f.raw("backward", backward, "a backward rule",
        "by default \"half_wave\" for activations (the paper's clipped rule), \"identity\" for weights");
}

Hwgq::Hwgq(const Options& options) : options_(options), book_(half_wave_grid(positive_levels(options))) {
  if (options.role == "weight") {
    Bwn::Options weights;
    weights.per_channel = options.per_channel;
    weights.gradient = "identity";
    weights.center = weights.clamp = false;
    weights.backward = options.backward;
    weights_ = std::make_shared<Bwn>(weights);
  } else {
    rule_ = make_backward_rule(options.backward, "half_wave");
  }
}

Grid Hwgq::grid(const Tensor& x) const {
  if (weights_) return weights_->grid(x);
  return book_;
}

Tensor Hwgq::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  if (weights_) return weights_->forward(in, pass);
  const Tensor& x = in[0];
  return record("hwgq", snap_finite(type(), x, book_), {x},
                [x, top = book_.levels.back(), rule = rule_](const Tensor& dy) -> Grads {
                  Tensor dx = Tensor::empty_like(x);
                  const auto u = x.data<float>(), g = dy.data<float>();
                  const auto to = dx.mutable_data<float>();
                  Blocks(x.numel(), 1).each([&](const Block& b) {
                    const auto begin = static_cast<size_t>(b.begin), count = static_cast<size_t>(b.count);
                    rule->input(u.subspan(begin, count), g.subspan(begin, count), 0, top, to.subspan(begin, count));
                  });
                  return {dx};
                });
}

Surrogate Hwgq::surrogate(const Tensor& x) const {
  return weights_ ? weights_->surrogate(x) : rule_surrogate(rule_, book_);
}

Complaints Hwgq::audit_values(const Tensor& w) const { return weights_ ? weights_->audit_values(w) : Complaints{}; }

NIBBLE_REGISTER_LAYER(Hwgq, "hwgq",
                      "Half-wave Gaussian quantization: activations of 1 to 4 bits, weights of -alpha or alpha.");

}  // namespace nibble
