#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "layers/graph.h"
#include "layers/weight_slot.h"
#include "tests/quant/conformance.h"

namespace nibble::test {

namespace {

std::string check_degenerate(const Subject& subject) {
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
        const Grid grid = subject.grid(*q, x);
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

/// The quantizer where users have it: an activation's node, or the weight slot of a convolution.
struct Placed {
  Graph graph;
  std::string layer;  ///< the name that an error must say
  Tensor image, x;    ///< x is the weight or the image itself
};

Placed place(const Subject& subject, const std::shared_ptr<Quantizer>& q, const Tensor& data) {
  if (!subject.weight) {
    Placed placed{Graph({6, 6, 8}), "block3.act", data, data};
    placed.graph.add("block3.act", q, {"input"});
    return placed;
  }
  Placed placed{Graph({6, 6, 12}), "block3.conv", normal_tensor({2, 6, 6, 12}, 18), {}};
  placed.graph.add("relu", Json{{"type", "relu"}}, {"input"});
  placed.graph.add("block3.conv", Json{{"type", "conv2d"}, {"in", 12}, {"out", 8}, {"kernel", 3}}, {"relu"});
  placed.graph.node("block3.conv").layer->weight_slot()->set(q);
  for (const NamedTensor& named : parameters_of(placed.graph))
    if (named.name == "block3.conv.weight") placed.x = named.tensor;
  placed.x.copy_from(data);
  return placed;
}

std::string check_refuses(const Subject& subject) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInf, -kInf}) {
    for (const bool trained : {false, true}) {
      const auto q = subject.make(subject.shape());
      Tensor data = subject.data(13);
      if (trained) train(*q, subject, data);
      const Placed placed = place(subject, q, data);
      placed.x.mutable_data<float>()[101] = bad;
      const int phase = q->phases() - 1;
      const TrainClock clock{.step = phase, .total_steps = phase + 1, .phase = phase, .phases = q->phases()};
      Rng rng(19);
      for (const Pass& pass : {Pass{}, Pass{.mode = Mode::train, .rng = &rng, .clock = &clock}}) {
        const std::string thrown = message_thrown([&] { placed.graph.forward(placed.image, pass); });
        const char* when = pass.mode == Mode::eval ? " in evaluation" : " in training";
        if (thrown.empty()) return concat_text(bad, " is accepted", when);
        if (thrown.find(placed.layer) == std::string::npos)
          return concat_text(bad, when, ": the message lacks the layer's name: ", thrown);
      }
    }
  }
  return "";
}

/// Whatever an update does to a parameter, after_update() makes a working quantizer of it again.
std::string check_guarded(const Subject& subject) {
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

}  // namespace

std::span<const Check> input_checks() {
  static constexpr Check table[] = {
      {"degenerate", check_degenerate}, {"refuses", check_refuses}, {"guarded", check_guarded}};
  return table;
}

}  // namespace nibble::test
