#pragma once

#include <limits>
#include <map>
#include <set>

#include "core/parallel.h"
#include "layers/quantizer.h"
#include "tests/layers/support.h"
#include "tests/support/gradcheck.h"

namespace nibble::test {

/// The tensors of a layer by name.
class States final : public StateVisitor {
 public:
  explicit States(Layer& layer) { layer.visit(*this); }
  std::map<std::string, Tensor> all, params;
  std::map<std::string, ParamTraits> traits;

 private:
  void on_param(const std::string& name, Tensor& tensor, const ParamTraits& t) override {
    all[name] = params[name] = tensor;
    traits[name] = t;
  }
  void on_buffer(const std::string& name, Tensor& tensor) override { all[name] = tensor; }
};

inline std::shared_ptr<Quantizer> make_quantizer(const Json& json) {
  auto quantizer = std::dynamic_pointer_cast<Quantizer>(make_layer(json));
  NIBBLE_CHECK(quantizer != nullptr, "test: no quantizer");
  return quantizer;
}

/// One training pass with the gradient dy at the output.
struct Passed {
  Tensor y, dx;
  std::map<std::string, Tensor> gradients;  ///< of the parameters
};

inline Passed train_pass(Layer& layer, const Tensor& x, const Tensor& dy, Rng* rng = nullptr) {
  const Tensor leaf = x.clone().set_requires_grad();
  for (const auto& [name, tensor] : States(layer).params) tensor.set_grad({});
  const Tensor y = layer.forward({&leaf, 1}, {Mode::train, rng});
  backward(weighted_sum(y, dy));
  Passed passed{y.detach(), leaf.grad(), {}};
  for (const auto& [name, tensor] : States(layer).params) passed.gradients[name] = tensor.grad();
  return passed;
}

/// "" if every element of y is a level of its channel.
inline std::string off_grid(const Tensor& y, const Grid& grid) {
  const int64_t channels = channel_count(grid);
  for (int64_t i = 0; i < y.numel(); ++i) {
    const float v = y.data<float>()[static_cast<size_t>(i)];
    const auto levels = levels_of(grid, channels == 1 ? 0 : i / (y.numel() / channels));
    if (std::ranges::find(levels, v) == levels.end()) return concat_text("element ", i, ", ", v, ", is no level");
  }
  return "";
}

/// What differs between two training passes with one and with two threads, values and gradients; "" if nothing does.
inline std::string thread_difference(const Json& json, const Tensor& x) {
  const Tensor dy = normal_tensor(x.shape(), 991);
  const int before = threads();
  std::vector<Passed> passes;
  for (const int count : {1, 2}) {
    set_threads(count);
    Rng rng(5);
    passes.push_back(train_pass(*make_layer(json), x, dy, &rng));
  }
  set_threads(before);
  if (!same_bits(passes[0].y, passes[1].y)) return "values";
  if (!same_bits(passes[0].dx, passes[1].dx)) return "gradient";
  for (const auto& [name, gradient] : passes[0].gradients)
    if (!same_bits(gradient, passes[1].gradients[name])) return name;
  return "";
}

/// Checks what every quantizer promises whatever its formulas say; "" or what fails first. Random numbers are provided.
inline std::string broken_promise(const Json& json, const Tensor& x, bool snaps = true) {
  Rng rng(3);
  const auto quantizer = make_quantizer(json);
  const Tensor dy = normal_tensor(x.shape(), 17);
  const Passed passed = train_pass(*quantizer, x, dy, &rng);
  if (snaps)
    if (const auto wrong = off_grid(passed.y, quantizer->grid(x)); !wrong.empty()) return "training: " + wrong;
  const Tensor y = quantizer->forward({&x, 1}, {});
  if (snaps)
    if (const auto wrong = off_grid(y, quantizer->grid(x)); !wrong.empty()) return "evaluation: " + wrong;
  if (const Facts facts = quantizer->facts(); facts.snaps_to && !same_bits(y, snap(x, *facts.snaps_to)))
    return "differs from snap";

  Json named{{"type", quantizer->type()}};
  named.update(quantizer->config());
  const auto copy = make_quantizer(named);
  if (copy->config() != quantizer->config()) return "config changes in a round trip";
  const States from(*quantizer), to(*copy);
  for (const auto& [name, tensor] : from.all) to.all.at(name).copy_from(tensor);
  if (!same_bits(copy->forward({&x, 1}, {}), y)) return "state does not restore the values";
  Rng one(8), two(8);
  const Passed a = train_pass(*quantizer, x, dy, &one), b = train_pass(*copy, x, dy, &two);
  if (!same_bits(a.y, b.y) || !same_bits(a.dx, b.dx)) return "state does not restore training";
  for (const auto& [name, tensor] : from.all)
    if (!same_bits(tensor, to.all.at(name))) return "restored state diverges: " + name;

  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    const Tensor poisoned = x.clone();
    poisoned.mutable_data<float>()[static_cast<size_t>(x.numel() / 2)] = bad;
    for (const Mode mode : {Mode::train, Mode::eval}) {
      const auto fresh = make_quantizer(json);
      if (message_of([&] { fresh->forward({&poisoned, 1}, {mode, &rng}); }).empty())
        return concat_text("accepts ", bad, mode == Mode::train ? " in training" : " in evaluation");
    }
  }
  if (const auto wrong = thread_difference(json, x); !wrong.empty()) return "threads change the " + wrong;
  return "";
}

/// Zeros, constants, a single element, huge and tiny values: finite values on a valid grid and finite gradients.
inline std::string breaks_at_edges(const Json& json, bool snaps = true) {
  constexpr float kHuge = std::numeric_limits<float>::max(), kTiny = std::numeric_limits<float>::denorm_min();
  const Shape shape{2, 3, 1, 1}, one{1, 1, 1, 1};
  std::vector<std::pair<std::string, Tensor>> inputs = {{"zero", Tensor::zeros(shape)},
                                                        {"constant", Tensor::full(shape, 0.3f)},
                                                        {"single", Tensor::full(one, -0.7f)},
                                                        {"single zero", Tensor::zeros(one)}};
  for (const auto& [name, size] : {std::pair{"huge", kHuge}, std::pair{"tiny", kTiny}, std::pair{"small", 1e-38f}})
    inputs.emplace_back(name, Tensor::from(shape, {size, -size, size / 2, -size, 0, size}));
  for (const auto& [name, x] : inputs) {
    const auto quantizer = make_quantizer(json);
    Rng rng(4);
    const Tensor dy = normal_tensor(x.shape(), 3);
    const Passed passed = train_pass(*quantizer, x, dy, &rng);
    check_grid(quantizer->grid(x), x.dim(0));
    if (snaps)
      if (const auto wrong = off_grid(passed.y, quantizer->grid(x)); !wrong.empty()) return name + ": " + wrong;
    std::vector<Tensor> results{passed.y, passed.dx, quantizer->forward({&x, 1}, {})};
    for (const auto& [parameter, gradient] : passed.gradients) results.push_back(gradient);
    for (const Tensor& result : results)
      for (const float v : result.data<float>())
        if (!std::isfinite(v)) return name + ": not finite";
  }
  return "";
}

inline double sign_of(double v) { return v >= 0 ? 1 : -1; }

/// The weights of the worked examples.
inline Tensor example_weights() { return Tensor::of({-0.8f, -0.3f, -0.05f, 0, 0.1f, 0.4f, 1.2f}); }

}  // namespace nibble::test
