#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include "core/parallel.h"
#include "layers/quantizer.h"
#include "tests/support/gradcheck.h"

/// What every quantizer must do, whatever its method. Each check returns "" or what is wrong.
namespace nibble::test {

/// A quantizer under test: how to build one for a tensor of a given shape, and where it sits.
struct Subject {
  std::function<std::shared_ptr<Quantizer>(const Shape&)> make;
  bool weight = false;
  int bits = 0;              ///< of its codes, if it has the option
  bool may_be_real = false;  ///< a variant may use real values in evaluation; by default a quantizer quantizes

  Shape shape() const { return weight ? Shape{8, 12, 3, 3} : Shape{4, 6, 6, 8}; }
  Tensor data(uint64_t seed) const { return normal_tensor(shape(), seed, weight ? 0.0f : 0.3f, weight ? 0.1f : 1.0f); }
};

/// Parameters and buffers by name.
struct StateList final : StateVisitor {
  std::vector<std::pair<std::string, Tensor>> params, buffers;
  explicit StateList(Layer& layer) { layer.visit(*this); }
  std::vector<std::pair<std::string, Tensor>> all() const {
    auto list = params;
    list.insert(list.end(), buffers.begin(), buffers.end());
    return list;
  }

 private:
  void on_param(const std::string& name, Tensor& tensor, const ParamTraits&) override {
    params.emplace_back(name, tensor);
  }
  void on_buffer(const std::string& name, Tensor& tensor) override { buffers.emplace_back(name, tensor); }
};

inline std::vector<Tensor> copy_state(Layer& layer) {
  std::vector<Tensor> copies;
  for (const auto& [name, tensor] : StateList(layer).all()) copies.push_back(tensor.clone());
  return copies;
}

inline std::string compare_state(Layer& layer, const std::vector<Tensor>& expected) {
  const auto state = StateList(layer).all();
  for (size_t i = 0; i < state.size(); ++i)
    if (!same_bits(state[i].second, expected[i])) return "state '" + state[i].first + "' differs";
  return "";
}

/// One training step as the trainer makes it: forward, backward, what follows an update. Parameters and weights move a
/// little against their gradients. Returns output, gradient of x and those of the parameters.
inline std::vector<Tensor> train_step(Quantizer& q, const Subject& subject, Tensor& x, int phase, float lr = 1e-3f,
                                      float upstream = 1) {
  Rng rng(17, static_cast<uint64_t>(phase));
  const int64_t step = 1'000'000 + phase;
  const TrainClock clock{
      .step = step, .total_steps = step + 1, .phase = phase, .phases = q.phases(), .lr = 0.01, .lr_share = 0.25};
  x.set_requires_grad();
  x.set_grad({});
  auto params = StateList(q).params;
  for (auto& [name, param] : params) param.set_grad({});
  const Tensor y = q.forward({&x, 1}, {.mode = Mode::train, .rng = &rng, .step = step, .clock = &clock});
  std::vector<Tensor> results{y.clone()};
  Tensor weight = normal_tensor(x.shape(), 99, 0, 0.01f);
  for (float& value : weight.mutable_data<float>()) value *= upstream;
  backward(weighted_sum(y, weight));
  results.push_back(x.grad());
  const auto move = [lr](const Tensor& tensor, const Tensor& mask) {
    if (lr == 0 || !tensor.grad().defined()) return;  // 0 times an infinite gradient is NaN
    const auto to = tensor.mutable_data<float>();
    for (size_t i = 0; i < to.size(); ++i)
      if (!mask.defined() || mask.data<uint8_t>()[i] != 0) to[i] -= lr * tensor.grad().data<float>()[i];
  };
  for (auto& [name, param] : params) {
    results.push_back(param.grad());
    move(param, {});
  }
  if (subject.weight) move(x, q.mask());
  q.after_update();
  if (subject.weight) q.constrain(x);
  return results;
}

/// Trains through all phases; x is the weight, which the quantizer may move, or an activation.
inline void train(Quantizer& q, const Subject& subject, Tensor& x) {
  for (int phase = 0; phase < q.phases(); ++phase) train_step(q, subject, x, phase);
  train_step(q, subject, x, q.phases() - 1);
}

inline Tensor evaluate(Quantizer& q, const Tensor& x) { return q.forward({&x, 1}, {}); }

inline std::string message_thrown(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// Every value of y is a level of its channel.
inline std::string on_grid(const Tensor& y, const Grid& grid) {
  const int64_t channels = channel_count(grid);
  if (channels > 1 && y.dim(0) != channels) return concat_text("the grid has ", channels, " channels");
  check_grid(grid, channels);
  for (int64_t c = 0; c < channels; ++c) {
    std::vector<float> levels = levels_of(grid, c);
    std::ranges::sort(levels);
    const int64_t width = y.numel() / channels;
    for (int64_t i = c * width; i < (c + 1) * width; ++i) {
      const float value = y.data<float>()[static_cast<size_t>(i)];
      if (!std::ranges::binary_search(levels, value))
        return concat_text("element ", i, " is ", value, ", which is no level of the grid");
    }
  }
  return "";
}

inline std::string check_on_grid(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Tensor x = subject.data(1);
  const auto grid_of = [&](const Tensor& w) { return q->grid(subject.weight ? w : Tensor{}); };
  for (const char* when : {"before training: ", "after training: "}) {
    const Grid grid = grid_of(x);
    const Tensor y = evaluate(*q, x);
    if (y.shape() != x.shape()) return concat_text(when, "the output has shape ", y.shape());
    if (std::holds_alternative<Real>(grid)) {
      if (!subject.may_be_real && when[0] == 'a') return "after training: the grid is real";
    } else if (const auto wrong = on_grid(y, grid); !wrong.empty()) {
      return when + wrong;
    }
    if (when[0] == 'b') train(*q, subject, x);
  }
  return "";
}

inline std::string check_level_count(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Tensor x = subject.data(2);
  train(*q, subject, x);
  const Grid grid = q->grid(subject.weight ? x : Tensor{});
  if (std::holds_alternative<Real>(grid)) return subject.may_be_real ? "" : "the grid is real";
  const int64_t allowed = subject.bits > 0 ? int64_t{1} << subject.bits : 256;
  if (level_count(grid) > allowed) return concat_text("the grid has ", level_count(grid), " levels");
  // Clipping levels may lie far out.
  const Tensor y = evaluate(*q, x), far = evaluate(*q, subject.weight ? x : normal_tensor(x.shape(), 2, 0, 100));
  const int64_t channels = channel_count(grid), width = y.numel() / channels;
  for (int64_t c = 0; c < channels; ++c) {
    const float* first = y.data<float>().data() + c * width;
    std::set<float> values(first, first + width);
    if (static_cast<int64_t>(values.size()) > allowed) return concat_text("channel ", c, " has too many values");
    if (!subject.weight) values.insert(far.data<float>().begin(), far.data<float>().end());
    if (values.size() < 2) return concat_text("channel ", c, " has one value");
  }
  return "";
}

inline std::string check_monotone(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Tensor x = subject.data(3);
  train(*q, subject, x);
  const Tensor y = evaluate(*q, x);
  const Grid grid = q->grid(subject.weight ? x : Tensor{});
  const auto channels = static_cast<size_t>(std::max<int64_t>(1, channel_count(grid)));
  const size_t width = static_cast<size_t>(x.numel()) / channels;
  const auto from = x.data<float>(), to = y.data<float>();
  for (size_t c = 0; c < channels; ++c) {
    std::vector<size_t> order(width);
    for (size_t i = 0; i < width; ++i) order[i] = c * width + i;
    std::ranges::sort(order, [&](size_t a, size_t b) { return from[a] < from[b]; });
    for (size_t k = 1; k < width; ++k)
      if (to[order[k]] < to[order[k - 1]])
        return concat_text(from[order[k - 1]], " becomes ", to[order[k - 1]], ", but ", from[order[k]], " becomes ",
                           to[order[k]]);
  }
  return "";
}

/// Where facts say that forward is a snap it is one, and where a grid rounds to the nearest level its levels stay.
inline std::string check_snaps(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Tensor x = subject.data(4);
  train(*q, subject, x);
  const Tensor y = evaluate(*q, x);
  const Grid grid = q->grid(subject.weight ? x : Tensor{});
  const bool nearest = std::holds_alternative<Uniform>(grid) || std::holds_alternative<BitPlanes>(grid);
  if (nearest && !same_bits(snap(y, grid), y)) return "its levels do not stay on its grid";
  const auto snaps_to = q->facts().snaps_to;
  if (!snaps_to) return "";
  if (!same_bits(snap(x, *snaps_to), y)) return "facts: it is no snap to its grid";
  const Tensor other = subject.data(5);
  if (!same_bits(snap(other, *snaps_to), evaluate(*q, other))) return "facts: on other data it is no snap to its grid";
  if (nearest && !same_bits(evaluate(*q, y), y)) return "it is not idempotent";
  return "";
}

/// Saved by visit() and config(), another one goes on with the same bits.
inline std::string check_state(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Json json{{"type", q->type()}};
  json.update(q->config());
  const auto rebuild = [&] { return std::dynamic_pointer_cast<Quantizer>(Registry<Layer>::get().make(Config(json))); };
  if (const auto twin = rebuild(); twin == nullptr || twin->config() != q->config()) return "its options do not return";
  Tensor x = subject.data(6);
  for (int phase = 0; phase < q->phases(); ++phase) {
    train_step(*q, subject, x, phase);
    const auto twin = rebuild();
    const auto from = StateList(*q).all(), to = StateList(*twin).all();
    if (from.size() != to.size()) return "the state of a new one has other tensors";
    for (size_t i = 0; i < from.size(); ++i) {
      if (from[i].first != to[i].first || from[i].second.shape() != to[i].second.shape() ||
          from[i].second.dtype() != to[i].second.dtype())
        return "state '" + from[i].first + "' has another name, shape or type in a new one";
      to[i].second.copy_from(from[i].second);
    }
    if (!same_bits(evaluate(*q, x), evaluate(*twin, x))) return "restored, it evaluates to other values";
    const std::vector<Tensor> before = copy_state(*twin);
    Tensor v = x.clone();
    const int next = std::min(phase + 1, q->phases() - 1);
    const auto expected = [&] {
      const auto again = rebuild();
      const auto state = StateList(*again).all();
      for (size_t i = 0; i < state.size(); ++i) state[i].second.copy_from(before[i]);
      Tensor u = x.clone();
      auto results = train_step(*again, subject, u, next);
      results.push_back(u);
      return results;
    }();
    Tensor original = x.clone();
    const std::vector<Tensor> own = copy_state(*q);
    auto results = train_step(*q, subject, original, next);
    results.push_back(original);
    for (size_t i = 0; i < results.size(); ++i)
      if (results[i].defined() != expected[i].defined() ||
          (results[i].defined() && !same_bits(results[i], expected[i])))
        return "restored, it trains on with other values";
    const auto state = StateList(*q).all();
    for (size_t i = 0; i < state.size(); ++i) state[i].second.copy_from(own[i]);
  }
  return "";
}

inline std::string check_eval_is_pure(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Tensor x = subject.data(7);
  for (int round = 0; round < 2; ++round) {
    const std::vector<Tensor> before = copy_state(*q);
    const Tensor copy = x.clone(), first = evaluate(*q, x);
    evaluate(*q, subject.data(8));
    if (const auto wrong = compare_state(*q, before); !wrong.empty()) return "evaluation: " + wrong;
    if (!same_bits(copy, x)) return "evaluation changes its input";
    if (!same_bits(first, evaluate(*q, x))) return "evaluation gives other values the second time";
    if (round == 0) train(*q, subject, x);
  }
  return "";
}

inline std::string check_threads(const Subject& subject) {
  const int before = threads();
  std::vector<std::vector<Tensor>> runs;
  for (const int count : {1, 2}) {
    set_threads(count);
    const Shape shape = subject.weight ? Shape{8, 900, 3, 3} : Shape{8, 9, 9, 100};
    const auto q = subject.make(shape);
    Tensor x = normal_tensor(shape, 9);
    std::vector<Tensor> results;
    for (int phase = 0; phase < std::min(2, q->phases()); ++phase) results = train_step(*q, subject, x, phase);
    results.push_back(x);
    results.push_back(evaluate(*q, x));
    for (const Tensor& tensor : copy_state(*q)) results.push_back(tensor);
    runs.push_back(results);
  }
  set_threads(before);
  for (size_t i = 0; i < runs[0].size(); ++i)
    if (runs[0][i].defined() && !same_bits(runs[0][i], runs[1][i]))
      return concat_text("result ", i, " depends on the number of threads");
  return "";
}

/// The gradient exists, is finite and is linear in dy.
inline std::string check_gradient(const Subject& subject) {
  std::vector<std::vector<Tensor>> runs;
  for (const float upstream : {1.0f, 2.0f}) {
    const auto q = subject.make(subject.shape());
    Tensor x = subject.data(10);
    runs.push_back(train_step(*q, subject, x, 0, 0, upstream));
  }
  for (size_t i = 1; i < runs[0].size(); ++i) {
    const Tensor &one = runs[0][i], &two = runs[1][i];
    if (!one.defined()) return concat_text("gradient ", i - 1, " is missing");
    for (size_t k = 0; k < one.data<float>().size(); ++k) {
      const float g = one.data<float>()[k];
      if (!std::isfinite(g)) return concat_text("gradient ", i - 1, " is not finite");
      if (two.data<float>()[k] != 2 * g) return concat_text("gradient ", i - 1, " is not linear in dy");
    }
  }
  return "";
}

inline std::string check_degenerate(const Subject& subject) {
  const Shape one = subject.weight ? Shape{1, 1} : Shape{1, 1, 1, 1};
  constexpr float kHuge = 1e37f, kDenormal = 1e-42f;
  std::map<std::string, Tensor> inputs{{"a single 0.7", Tensor::full(one, 0.7f)}, {"a single 0", Tensor::full(one, 0)}};
  for (const auto& [name, value] : std::map<std::string, float>{
           {"zeros", 0}, {"ones", 1}, {"minus ones", -1}, {"huge constants", kHuge}, {"denormal constants", kDenormal}})
    inputs[name] = Tensor::full(subject.shape(), value);
  inputs["huge values"] = random_tensor(subject.shape(), 11, -kHuge, kHuge);
  inputs["denormal values"] = random_tensor(subject.shape(), 12, -kDenormal, kDenormal);
  for (auto& [name, input] : inputs) {
    Tensor& x = input;
    const auto q = subject.make(x.shape());
    std::string wrong;
    const std::string thrown = message_thrown([&] {
      for (int round = 0; round < 2 && wrong.empty(); ++round) {
        const Tensor y = evaluate(*q, x);
        const Grid grid = q->grid(subject.weight ? x : Tensor{});
        if (!std::holds_alternative<Real>(grid)) wrong = on_grid(y, grid);
        for (const float value : y.data<float>())
          if (!std::isfinite(value)) wrong = "the output is not finite";
        // Without moving: a gradient of huge values has no bound.
        for (int phase = 0; round == 0 && phase < q->phases(); ++phase) train_step(*q, subject, x, phase, 0);
      }
    });
    if (!thrown.empty()) wrong = thrown;
    if (!wrong.empty()) return name + ": " + wrong;
  }
  return "";
}

inline std::string check_refuses(const Subject& subject) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInf, -kInf}) {
    for (const bool trained : {false, true}) {
      const auto q = subject.make(subject.shape());
      Tensor x = subject.data(13);
      if (trained) train(*q, subject, x);
      x.mutable_data<float>()[101] = bad;
      if (message_thrown([&] { evaluate(*q, x); }).empty()) return concat_text(bad, " is accepted in evaluation");
      if (message_thrown([&] { train_step(*q, subject, x, q->phases() - 1, 0); }).empty())
        return concat_text(bad, " is accepted in training");
    }
  }
  return "";
}

/// Whatever an update does to a parameter, after_update() makes a working quantizer of it again.
inline std::string check_guarded(const Subject& subject) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const float bad : {-1.0f, 0.0f, -1e-30f, 1e38f, std::numeric_limits<float>::quiet_NaN(), kInf, -kInf}) {
    const auto q = subject.make(subject.shape());
    Tensor x = subject.data(14);
    train(*q, subject, x);
    for (auto& [name, param] : StateList(*q).params) std::ranges::fill(param.mutable_data<float>(), bad);
    q->after_update();
    std::string wrong;
    const std::string thrown = message_thrown([&] {
      for (const float value : evaluate(*q, x).data<float>())
        if (!std::isfinite(value)) wrong = "the output is not finite";
    });
    if (!thrown.empty()) wrong = thrown;
    if (!wrong.empty()) return concat_text("parameters set to ", bad, ": ", wrong);
  }
  return "";
}

struct Check {
  const char* name;
  std::string (*run)(const Subject&);
};
inline constexpr Check kChecks[] = {{"on grid", check_on_grid},       {"level count", check_level_count},
                                    {"monotone", check_monotone},     {"snaps", check_snaps},
                                    {"state", check_state},           {"pure evaluation", check_eval_is_pure},
                                    {"threads", check_threads},       {"gradient", check_gradient},
                                    {"degenerate", check_degenerate}, {"refuses", check_refuses},
                                    {"guarded", check_guarded}};

/// The check's verdict; an Error that it did not expect is one, too.
inline std::string verdict(const Check& check, const Subject& subject) {
  std::string wrong;
  const std::string thrown = message_thrown([&] { wrong = check.run(subject); });
  return thrown.empty() ? wrong : "threw: " + thrown;
}

}  // namespace nibble::test
