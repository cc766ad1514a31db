#include "quant/incremental.h"

#include <algorithm>

#include "core/parallel.h"
#include "quant/finite.h"

namespace nibble {

namespace {

/// A step-function's backward by a rule: u = x / unit, levels from lo to hi in the same unit.
Tensor rule_gradient(const Tensor& x, const Tensor& dy, float unit, float lo, float hi, const BackwardRule& rule) {
  Tensor dx = Tensor::empty_like(x);
  const float *px = x.data<float>().data(), *pdy = dy.data<float>().data();
  float* pdx = dx.mutable_data<float>().data();
  parallel_for(0, x.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    constexpr int64_t kStretch = 1024;
    float u[kStretch];
    for (int64_t first = begin; first < end; first += kStretch) {
      const int64_t n = std::min(kStretch, end - first);
      for (int64_t i = 0; i < n; ++i) u[i] = px[first + i] / unit;
      const auto length = static_cast<size_t>(n);
      rule.input({u, length}, {pdy + first, length}, lo, hi, {pdx + first, length});
    }
  });
  return dx;
}

}  // namespace

void IncrementalQuantizer::Options::fields(Fields& f) {
  f.choice("role", role, {"weight"}, "what is quantized: weights only; a rule fills it in");
  f("channels", channels, "output channels of the weight; a rule fills it in", {1, 1 << 20});
  f("fan_in", fan_in, "elements of an output channel; a rule fills it in", {1, 1 << 28});
  f.choice("forward", forward, {"mixed", "ste"},
           "training uses the weights as they are stored (those not yet fixed are real), or all of them quantized with "
           "a straight-through gradient");
  f.choice("evaluate", evaluate, {"quantized", "mixed"}, "the same for evaluation, until the last phase");
  f.raw("backward", backward, "a backward rule", "gradient for \"forward\": \"ste\"; by default \"identity\"");
}

IncrementalQuantizer::IncrementalQuantizer(const Options& options, int phases)
    : common_(options),
      phases_(phases),
      rule_(make_backward_rule(options.backward, "identity")),
      centre_(Tensor::full({1}, 1.0f)),
      state_(Tensor::zeros({1}, DType::i64)),
      mask_(Tensor::empty({options.channels, options.fan_in}, DType::u8)) {
  std::ranges::fill(mask_.mutable_data<uint8_t>(), uint8_t{1});
}

Grid IncrementalQuantizer::grid(const Tensor& w) const {
  if (phase() < 0) return w.defined() ? grid_of(centre_of(w)) : Grid{Real{}};
  if (common_.evaluate == "mixed" && phase() + 1 < phases_) return Real{};
  return grid_of(centre());
}

void IncrementalQuantizer::enter(const TrainClock& clock, const Tensor& w) {
  NIBBLE_CHECK(clock.phases == phases_, type(), ": expected a schedule of ", phases_, " phases, got ", clock.phases,
               " (\"schedule\": {\"type\": \"phases\"})");
  NIBBLE_CHECK(clock.phase >= 0 && clock.phase < phases_, type(), ": phase ", clock.phase, " is outside [0, ", phases_,
               ")");
  if (clock.phase <= phase()) return;
  if (phase() < 0) centre_.mutable_data<float>()[0] = centre_of(w);
  const auto free = mask_.mutable_data<uint8_t>();
  for (int next = phase() + 1; next <= clock.phase; ++next) {
    if (next + 1 == phases_)
      std::ranges::fill(free, uint8_t{0});
    else
      join(next, w, free);
  }
  state_.mutable_data<int64_t>()[0] = clock.phase + 1;
  const Tensor quantized = snap(w, grid_of(centre()));
  const auto from = quantized.data<float>();
  const auto to = w.mutable_data<float>();
  for (size_t i = 0; i < to.size(); ++i) to[i] = free[i] != 0 ? to[i] : from[i];
}

Tensor IncrementalQuantizer::straight_through(const Tensor& w) const {
  const Grid grid = grid_of(centre());
  const std::vector<float> levels = levels_of(grid, 0);
  // A rule sees codes where the grid is uniform, else values.
  const auto* uniform = std::get_if<Uniform>(&grid);
  const float unit = uniform != nullptr ? uniform->scale[0] : 1.0f;
  return record(type(), snap(w, grid), {w},
                [w, unit, lo = levels.front() / unit, hi = levels.back() / unit,
                 rule = rule_](const Tensor& dy) -> Grads { return {rule_gradient(w, dy, unit, lo, hi, *rule)}; });
}

Tensor IncrementalQuantizer::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  const Tensor& w = in[0];
  check_finite(type(), w);
  if (pass.mode == Mode::eval) return snap(w, grid(phase() < 0 ? w : Tensor{}));
  NIBBLE_CHECK(w.numel() == mask_.numel(), type(), ": expected a weight of channels * fan_in = ", mask_.dim(0), " * ",
               mask_.dim(1), " elements, got shape ", w.shape());
  NIBBLE_CHECK(pass.clock != nullptr, type(), ": training needs to know its phase, and this pass has no clock");
  enter(*pass.clock, w);
  prepare(w, *pass.clock);
  return common_.forward == "mixed" ? w : straight_through(w);
}

void IncrementalQuantizer::visit(StateVisitor& visitor) {
  visitor.buffer("centre", centre_);
  visitor.buffer("phases_begun", state_);
  visitor.buffer("mask", mask_);
}

}  // namespace nibble
