#include "optim/elementwise.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/glob.h"
#include "core/parallel.h"

namespace nibble {
namespace {

/// Elements per thread below which threads cost more than they bring.
constexpr int64_t kGrain = 16384;

void check_params(const std::vector<Param>& params) {
  NIBBLE_CHECK(!params.empty(), "optimizer: there are no parameters to train");
  std::set<std::string> names;
  std::set<const void*> tensors;
  for (const Param& param : params) {
    NIBBLE_CHECK(param.tensor.defined() && param.tensor.dtype() == DType::f32, "optimizer: parameter '", param.name,
                 "' is no f32 tensor");
    NIBBLE_CHECK(
        !param.mask.defined() || (param.mask.dtype() == DType::u8 && param.mask.numel() == param.tensor.numel()),
        "optimizer: the mask of parameter '", param.name, "' must have ", param.tensor.numel(), " u8 elements");
    NIBBLE_CHECK(names.insert(param.name).second, "optimizer: two parameters are named '", param.name, "'");
    NIBBLE_CHECK(tensors.insert(param.tensor.id()).second, "optimizer: parameter '", param.name,
                 "' is a tensor that another parameter holds already");
  }
}

[[noreturn]] void fail_unmatched(size_t index, const std::string& pattern, const std::vector<Param>& params) {
  std::vector<std::string> names;
  for (const Param& param : params) names.push_back(param.name);
  const auto guess = closest(pattern, names);
  throw UsageError(concat_text("at /optim/no_decay/", index, ": pattern '", pattern, "' matches no parameter",
                               guess ? ", did you mean '" + *guess + "'?" : "", " (there are ", names.size(),
                               ", such as '", names.front(), "')"));
}

}  // namespace

ElementwiseOptimizer::ElementwiseOptimizer(const OptimOptions& options, std::vector<Slot> slots)
    : slots_(std::move(slots)) {
  const LearningRate rate(options);
  schedule_type_ = rate.schedule().type();
  schedule_ = rate.schedule().config();
  NIBBLE_CHECK(slots_.size() <= kMaxSlots, "optimizer: at most ", kMaxSlots, " slots, got ", slots_.size());
}

void ElementwiseOptimizer::attach(std::vector<Param> params) {
  NIBBLE_CHECK(params_.empty(), "optimizer: attach was called twice");
  check_params(params);
  params_ = std::move(params);
  runs_.resize(params_.size());
  set_decay();
  starts_ = {0};
  for (const Param& param : params_) {
    for (const Slot& slot : slots_) state_.push_back(Tensor::full(param.tensor.shape(), slot.initial));
    starts_.push_back(starts_.back() + param.tensor.numel());
  }
}

void ElementwiseOptimizer::set_decay() {
  const OptimOptions& common = options();
  std::vector<bool> exempt(params_.size());
  for (size_t i = 0; i < common.no_decay.size(); ++i) {
    // Alternatives are checked one by one, so that a misspelt one does not hide behind another.
    for (const std::string& pattern : glob_alternatives(common.no_decay[i])) {
      bool matched = false;
      for (size_t p = 0; p < params_.size(); ++p) {
        if (!glob_match(pattern, params_[p].name)) continue;
        matched = true;
        exempt[p] = true;
      }
      if (!matched) fail_unmatched(i, pattern, params_);
    }
  }
  for (size_t p = 0; p < params_.size(); ++p) {
    runs_[p].decay = params_[p].decay && !exempt[p] ? static_cast<float>(common.weight_decay) : 0.f;
  }
}

void ElementwiseOptimizer::step(double lr) {
  NIBBLE_CHECK(!params_.empty(), "optimizer: step before attach");
  NIBBLE_CHECK(std::isfinite(lr) && lr >= 0, "optimizer: the learning rate must be finite and at least 0, got ", lr);
  for (size_t p = 0; p < params_.size(); ++p) {
    const Param& param = params_[p];
    const Tensor& grad = param.tensor.grad();
    Run& run = runs_[p];
    run.g = nullptr;
    if (!grad.defined()) continue;
    run.w = param.tensor.mutable_data<float>().data();
    run.g = grad.data<float>().data();
    run.lr = static_cast<float>(lr) * param.lr_factor;
    for (size_t s = 0; s < slots_.size(); ++s) {
      const Tensor& state = state_[p * slots_.size() + s];
      NIBBLE_CHECK(state.shape() == param.tensor.shape(), "optimizer: '", param.name, ".", slots_[s].name, "' is ",
                   state.shape(), ", the parameter ", param.tensor.shape());
      run.state[s] = state.mutable_data<float>().data();
    }
  }
  begin_step();

  const auto update_range = [this](int64_t lo, int64_t hi) {
    auto p = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), lo) - starts_.begin()) - 1;
    for (; lo < hi; ++p) {
      const int64_t end = std::min(hi, starts_[p + 1]), offset = lo - starts_[p];
      Run run = runs_[p];
      run.n = end - lo;
      lo = end;
      if (run.g == nullptr || run.n == 0) continue;
      run.w += offset;
      run.g += offset;
      for (size_t s = 0; s < slots_.size(); ++s) run.state[s] += offset;
      const Tensor& mask = params_[p].mask;
      if (mask.defined()) {
        update_masked(run, mask.data<uint8_t>().data() + offset);
      } else {
        update(run);
      }
    }
  };
  parallel_for(0, starts_.back(), kGrain, update_range);
}

void ElementwiseOptimizer::update_masked(const Run& run, const uint8_t* mask) const {
  constexpr int64_t kStretch = 256;
  float w[kStretch], state[kMaxSlots][kStretch];
  for (int64_t first = 0; first < run.n; first += kStretch) {
    Run part = run;
    part.n = std::min(kStretch, run.n - first);
    part.w += first;
    part.g += first;
    std::copy_n(part.w, part.n, w);
    for (size_t s = 0; s < slots_.size(); ++s) {
      part.state[s] += first;
      std::copy_n(part.state[s], part.n, state[s]);
    }
    update(part);
    for (int64_t i = 0; i < part.n; ++i) {
      if (mask[first + i] != 0) continue;
      part.w[i] = w[i];
      for (size_t s = 0; s < slots_.size(); ++s) part.state[s][i] = state[s][i];
    }
  }
}

void ElementwiseOptimizer::reset_state() {
  for (size_t i = 0; i < state_.size(); ++i)
    std::ranges::fill(state_[i].mutable_data<float>(), slots_[i % slots_.size()].initial);
}

void ElementwiseOptimizer::visit_state(const std::function<void(const std::string&, Tensor&)>& visit) {
  for (size_t i = 0; i < state_.size(); ++i) {
    visit(params_[i / slots_.size()].name + "." + slots_[i % slots_.size()].name, state_[i]);
  }
}

Json ElementwiseOptimizer::resolved(Json options) const {
  Json schedule{{"type", schedule_type_}};
  schedule.update(schedule_);
  options["schedule"] = std::move(schedule);
  return options;
}

}  // namespace nibble
