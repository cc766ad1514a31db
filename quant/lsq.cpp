#include "quant/lsq.h"

#include <algorithm>
#include <cmath>

#include "core/ops/row_blocks.h"
#include "quant/best_step.h"
#include "quant/finite.h"
#include "quant/learned_step_op.h"
#include "quant/promises.h"
#include "quant/statistics.h"
#include "quant/step_gradient.h"
#include "quant/surrogate.h"

namespace nibble {

namespace {

constexpr float kSmallestStep = 1e-8f, kSmallestInitialStep = 1e-6f;
constexpr float kLargestStep = 1e36f;  ///< 255 of them are still finite

}  // namespace

void Lsq::Options::fields(Fields& f) {
  f("bits", bits, "width of the codes", {2, 8});
  f.choice("role", role, {"act", "weight"}, "what is quantized; a rule fills it in");
  f("signed", is_signed, "codes from -2^(bits-1) to 2^(bits-1)-1 instead of 0 to 2^bits-1; a rule sets it for weights");
  f("per_channel", per_channel, "one step per output channel instead of one per tensor (weights only)");
  f("channels", channels, "number of output channels; a rule fills it in", {1, 1 << 20});
  f.choice("features", features, {"sample", "numel", "channels"},
           "what N counts for activations: the features of one sample, all elements of the batch, or the channels");
  f.choice("scale", scale, {"n_qp", "n", "none"},
           "gradient scale of the step: 1/sqrt(N Q_P), 1/sqrt(N) or 1 (the paper's table 3)");
  f("scale_factor", scale_factor, "multiplies the gradient scale (10 and 0.1 in table 3)", kPositive);
  f.choice("init", init, {"paper", "mse"},
           "where the step starts: at 2 mean|x| / sqrt(Q_P) of the first training tensor, or at the one with the least "
           "mean squared error on it");
  f("step", step, "initial step; 0 takes it from the data as \"init\" says", kNonNegative);
  f.raw("backward", backward, "a backward rule", "gradient of the input; by default \"lsq\", the paper's eq. 5");
}

Lsq::Lsq(const Options& options)
    : options_(options),
      lo_(options.is_signed ? -(1 << (options.bits - 1)) : 0),
      hi_(options.is_signed ? (1 << (options.bits - 1)) - 1 : (1 << options.bits) - 1),
      rule_(make_backward_rule(options.backward, "lsq")) {
  NIBBLE_CHECK(!options.per_channel || options.role == "weight", "lsq: per_channel is for weights only");
  const int64_t steps = options_.per_channel ? options_.channels : 1;
  step_ = Tensor::full({steps}, options_.step > 0 ? static_cast<float>(options_.step) : 1.0f).set_requires_grad();
  const int64_t state[] = {options_.step > 0, 0};
  state_ = Tensor::from<int64_t>({2}, state);
}

Grid Lsq::grid(const Tensor&) const {
  const auto steps = step_.data<float>();
  return Uniform{{steps.begin(), steps.end()}, {0}, lo_, hi_};
}

void Lsq::initialize_step(const Tensor& x) {
  const bool best = options_.init == "mse";
  const std::vector<double> found = best ? best_steps(x, step_.numel(), lo_, hi_) : mean_absolute(x, step_.numel());
  for (size_t c = 0; c < found.size(); ++c) {
    const double step = std::min<double>(best ? found[c] : 2 * found[c] / std::sqrt(hi_), kLargestStep);
    step_.mutable_data<float>()[c] = std::max(static_cast<float>(step), kSmallestInitialStep);
  }
  state_.mutable_data<int64_t>()[0] = 1;
}

double Lsq::gradient_scale(const Shape& x) const {
  NIBBLE_CHECK(options_.role == "weight" || x.rank() > 0, "lsq: expected activations (N,...,C), got a scalar");
  auto n = static_cast<double>(x.numel());
  if (options_.role == "weight") {
    n /= static_cast<double>(step_.numel());
  } else if (options_.features == "sample") {
    n /= static_cast<double>(x[0]);
  } else if (options_.features == "channels") {
    n = static_cast<double>(x[x.rank() - 1]);
  }
  if (options_.scale == "none") return options_.scale_factor;
  return options_.scale_factor / std::sqrt(options_.scale == "n_qp" ? n * hi_ : n);
}

std::shared_ptr<const ElementwiseOp> Lsq::training_op(const Shape& x) const {
  if (options_.role == "weight" || !initialized()) return {};
  return std::make_shared<LearnedStepOp>(type(), step_, lo_, hi_, rule_, gradient_scale(x));
}

Tensor Lsq::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  const Tensor& x = in[0];
  if (pass.mode == Mode::train && !initialized()) {
    check_finite("lsq", x);
    initialize_step(x);
  }
  const Tensor y = snap_finite("lsq", x, grid());
  const double scale = gradient_scale(x.shape());
  // Activations' sums are cut as those of training_op() are.
  const int64_t run = options_.role == "weight" ? kWholeChannel : RowBlocks(x.shape()).elements();
  return record(
      "lsq", y, {x, step_},
      [x, step = step_, used = step_.clone(), lo = lo_, hi = hi_, rule = rule_, scale, run](const Tensor& dy) -> Grads {
        const StepGradients g = step_gradients(x, dy, used, lo, hi, *rule, reuse(dy), run);
        Tensor dstep = Tensor::empty_like(step);
        for (size_t c = 0; c < g.dstep.size(); ++c)
          dstep.mutable_data<float>()[c] = static_cast<float>(g.dstep[c] * scale);
        return {g.dx, dstep};
      });
}

Surrogate Lsq::surrogate(const Tensor&) const { return rule_surrogate(rule_, grid()); }

void Lsq::visit(StateVisitor& visitor) {
  visitor.param("step", step_, {.decay = false});
  visitor.buffer("state", state_);
}

void Lsq::after_update() {
  for (float& step : step_.mutable_data<float>()) {
    if (step >= kSmallestStep && step <= kLargestStep) continue;
    step = step > kLargestStep ? kLargestStep : kSmallestStep;  // NaN becomes the smallest
    ++state_.mutable_data<int64_t>()[1];
  }
}

Complaints Lsq::audit_state(const Tensor&) const {
  Complaints wrong = positive_promise("step", step_);
  std::ranges::copy(started_promise(initialized()), std::back_inserter(wrong));
  return wrong;
}

NIBBLE_REGISTER_LAYER(Lsq, "lsq", "Learned step size quantization (LSQ): weights or activations, 2 to 8 bits.");

}  // namespace nibble
