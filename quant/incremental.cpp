#include "quant/incremental.h"

#include <algorithm>

#include "quant/finite.h"
#include "quant/promises.h"
#include "quant/straight_through.h"
#include "quant/surrogate.h"

namespace nibble {

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
  return common_.forward == "mixed" ? w : straight_through(type(), w, grid_of(centre()), rule_);
}

Surrogate IncrementalQuantizer::surrogate(const Tensor&) const {
  if (common_.forward == "mixed") return elementwise(1, [](size_t, double w) { return w; });
  return rule_surrogate(rule_, grid_of(centre()));
}

Complaints IncrementalQuantizer::audit_state(const Tensor& w) const {
  Complaints wrong = positive_promise("centre", centre_);
  if (phase() + 1 < phases_)
    wrong.push_back(concat_text("expected training through all ", phases_, " phases, found ", phase() + 1, " begun"));
  if (!wrong.empty() || !w.defined()) return wrong;
  const std::vector<float> levels = levels_of(grid_of(centre()), 0);
  const auto weights = w.data<float>();
  const auto free = mask_.data<uint8_t>();
  for (size_t i = 0; i < weights.size(); ++i) {
    if (std::ranges::find(levels, weights[i]) == levels.end())
      return {concat_text("expected every stored weight on one of the ", levels.size(), " levels, found ", weights[i],
                          " at element ", i)};
    if (free[i] != 0) return {concat_text("expected every weight to be fixed, found element ", i, " still free")};
  }
  return {};
}

void IncrementalQuantizer::visit(StateVisitor& visitor) {
  visitor.buffer("centre", centre_);
  visitor.buffer("phases_begun", state_);
  visitor.buffer("mask", mask_);
}

}  // namespace nibble
