#include "tests/quant/broken_quantizers.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"

namespace nibble::test {

namespace {

enum class Fault {
  none,
  off_grid,
  too_many_levels,
  one_level,
  not_monotone,
  lying_facts,
  not_idempotent,
  false_scale_claim,
  forgets_state,
  grows_state,
  loses_options,
  learns_in_eval,
  threads_in_output,
  threads_in_gradient,
  no_gradient,
  wrong_gradient,
  wrong_end,
  no_surrogate,
  nonlinear,
  divides_by_zero,
  overflows,
  takes_nan,
  takes_infinity,
  unguarded,
};

class Sample final : public Quantizer {
 public:
  struct Options {
    int bits = 3;
    Fault fault = Fault::none;
    void fields(Fields& f) {
      int number = static_cast<int>(fault);
      f("bits", bits, "code width", {3, 3});
      f("fault", number, "what is wrong");
      fault = static_cast<Fault>(number);
    }
  };
  explicit Sample(const Options& options) : options_(options) {
    step_ = Tensor::full({1}, 1).set_requires_grad();
    seen_ = Tensor::zeros({1}, DType::i64);
  }
  std::string_view type() const override { return "test_sample"; }
  Claims claims() const override { return {.scale_equivariant = true}; }
  Grid grid(const Tensor& = {}) const override {
    const float step = step_.item();
    if (is(Fault::not_idempotent)) return lifted_grid(step);
    const int extra = is(Fault::too_many_levels) ? 3 : is(Fault::loses_options) ? -2 : 0;
    return Uniform{{step}, {0}, kLo, kHi + extra};
  }
  /// Passes between the outer levels.
  Surrogate surrogate(const Tensor&) const override {
    if (is(Fault::no_surrogate)) return {};
    return [lo = static_cast<double>(kLo * step_.item()),
            hi = static_cast<double>(kHi * step_.item())](std::span<const double> x) {
      std::vector<double> y;
      for (const double value : x) y.push_back(std::clamp(value, lo, hi));
      return y;
    };
  }
  Tensor forward(Inputs in, const Pass& pass) override {
    const Tensor& x = in[0];
    check_values(x);
    if ((pass.mode == Mode::train || is(Fault::learns_in_eval)) && seen_.data<int64_t>()[0] == 0) learn(x);
    const Tensor y = snap(is(Fault::takes_nan) ? without_nan(x) : x, grid());
    spoil(x, y);
    return record(type(), y, {x, step_},
                  [this, x, step = step_.item()](const Tensor& dy) -> Grads { return gradients(x, dy, step); });
  }
  void visit(StateVisitor& visitor) override {
    visitor.param("step", step_);
    if (!is(Fault::forgets_state)) visitor.buffer("seen", seen_);
    if (is(Fault::grows_state) && extra_.defined()) visitor.buffer("extra", extra_);
  }
  void after_update() override {
    float& step = step_.mutable_data<float>()[0];
    if (!is(Fault::unguarded)) step = step >= 1e-8f ? std::min(step, 1e30f) : 1e-8f;
  }
  Json config() const override {
    Json json = write_options(options_);
    if (is(Fault::loses_options)) json["fault"] = 0;
    return json;
  }

 private:
  static constexpr int kLo = -4, kHi = 3;
  bool is(Fault fault) const { return options_.fault == fault; }

  /// The same levels, each taken one level too early, but for the top.
  static Codebook lifted_grid(float step) {
    Codebook book;
    for (int code = kLo; code <= kHi; ++code) book.levels.push_back(static_cast<float>(code) * step);
    for (int code = kLo; code < kHi; ++code) book.thresholds.push_back((static_cast<float>(code) - 0.5f) * step);
    return book;
  }
  void check_values(const Tensor& x) const {
    for (const float value : x.data<float>()) {
      NIBBLE_CHECK(!std::isnan(value) || is(Fault::takes_nan), "nan");
      NIBBLE_CHECK(!std::isinf(value) || is(Fault::takes_infinity), "infinity");
    }
  }
  static Tensor without_nan(const Tensor& x) {
    Tensor copy = x.clone();
    for (float& value : copy.mutable_data<float>()) value = std::isnan(value) ? 0 : value;
    return copy;
  }
  void learn(const Tensor& x) {
    float most = 0;
    for (const float value : x.data<float>()) most = std::max(most, std::abs(value));
    float step = most / (is(Fault::overflows) && most > 1e30f ? 1e-30f : 4);
    if (is(Fault::false_scale_claim)) step += 0.01f;
    if (is(Fault::threads_in_output)) step *= 1 + 1e-6f * static_cast<float>(threads());
    step_.mutable_data<float>()[0] = is(Fault::divides_by_zero) ? step : std::clamp(step, 1e-8f, 1e38f);
    seen_.mutable_data<int64_t>()[0] = 1;
    extra_ = Tensor::zeros({1});
  }
  void spoil(const Tensor& x, const Tensor& y) const {
    const auto values = y.mutable_data<float>();
    for (size_t i = 0; i < values.size(); ++i) {
      float& value = values[i];
      if (is(Fault::off_grid)) value *= 1.0001f;
      if (is(Fault::one_level)) value = 0;
      if (is(Fault::not_monotone)) value = value > 1.5f * step_.item() ? 0 : value;
      if (is(Fault::lying_facts) && x.data<float>()[i] > 0.4f * step_.item()) value = std::max(value, step_.item());
    }
  }
  Grads gradients(const Tensor& x, const Tensor& dy, float step) const {
    Tensor dx = dy.clone();
    double sum = 0;
    const float lo = kLo * step, hi = (is(Fault::wrong_end) ? kHi - 1 : kHi) * step;
    for (size_t i = 0; i < x.data<float>().size(); ++i) {
      const float value = x.data<float>()[i];
      float& g = dx.mutable_data<float>()[i];
      sum += static_cast<double>(value > 0 ? g : -g);
      if (value < lo || value > hi) g = 0;
      if (is(Fault::wrong_gradient)) g *= 1.001f;
      if (is(Fault::nonlinear)) g *= std::abs(g);
    }
    if (is(Fault::threads_in_gradient)) sum *= threads();
    return {is(Fault::no_gradient) ? Tensor() : dx, Tensor::full({1}, static_cast<float>(sum))};
  }

  Options options_;
  Tensor step_, seen_, extra_;
};
NIBBLE_REGISTER_LAYER(Sample, "test_sample", "A right quantizer, or one with a fault.");

Subject sample(Fault fault) {
  Subject subject;
  subject.bits = 3;
  subject.make = [fault](const Shape&) { return std::make_shared<Sample>(Sample::Options{.fault = fault}); };
  return subject;
}

}  // namespace

Subject sound_quantizer() { return sample(Fault::none); }

std::vector<Broken> broken_quantizers() {
  return {{"an output off its grid", sample(Fault::off_grid), "on grid", "on grid, snaps, idempotent, degenerate"},
          {"more levels than its bits", sample(Fault::too_many_levels), "level count", ""},
          {"a single level", sample(Fault::one_level), "level count", "level count, snaps"},
          {"a fall in its output", sample(Fault::not_monotone), "monotone", "monotone, snaps"},
          {"another output than its facts say", sample(Fault::lying_facts), "snaps", ""},
          {"levels that move when quantized again", sample(Fault::not_idempotent), "idempotent", ""},
          {"a false claim of scaling with its input", sample(Fault::false_scale_claim), "scale", ""},
          {"state that is not saved", sample(Fault::forgets_state), "state", ""},
          {"state that a new one lacks", sample(Fault::grows_state), "state", ""},
          {"options that are not saved", sample(Fault::loses_options), "state", ""},
          {"learning in evaluation", sample(Fault::learns_in_eval), "pure evaluation", "on grid, pure evaluation"},
          {"an output that depends on the threads", sample(Fault::threads_in_output), "threads", ""},
          {"a gradient that depends on the threads", sample(Fault::threads_in_gradient), "threads", ""},
          {"no gradient", sample(Fault::no_gradient), "gradient", "gradient, surrogate"},
          {"a gradient that is not linear", sample(Fault::nonlinear), "gradient", "gradient, surrogate"},
          {"a gradient that is a little off", sample(Fault::wrong_gradient), "surrogate", ""},
          {"a gradient that is cut too early", sample(Fault::wrong_end), "surrogate", ""},
          {"no declared surrogate", sample(Fault::no_surrogate), "surrogate", ""},
          {"a step of 0 for zeros", sample(Fault::divides_by_zero), "degenerate", ""},
          {"an infinite step for huge values", sample(Fault::overflows), "degenerate", ""},
          {"NaN accepted", sample(Fault::takes_nan), "refuses", ""},
          {"infinity accepted", sample(Fault::takes_infinity), "refuses", ""},
          {"no guard after an update", sample(Fault::unguarded), "guarded", ""}};
}

}  // namespace nibble::test
