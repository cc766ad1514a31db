#include "tests/quant/conformance.h"

#include <algorithm>

namespace nibble::test {

std::vector<std::pair<std::string, Tensor>> StateList::all() const {
  auto list = params;
  list.insert(list.end(), buffers.begin(), buffers.end());
  return list;
}

std::vector<Tensor> copy_state(Layer& layer) {
  std::vector<Tensor> copies;
  for (const auto& [name, tensor] : StateList(layer).all()) copies.push_back(tensor.clone());
  return copies;
}

std::string compare_state(Layer& layer, const std::vector<Tensor>& expected) {
  const auto state = StateList(layer).all();
  for (size_t i = 0; i < state.size(); ++i)
    if (!same_bits(state[i].second, expected[i])) return "state '" + state[i].first + "' differs";
  return "";
}

Tensor upstream_gradient(const Shape& shape) { return normal_tensor(shape, 99, 0, 0.01f); }

std::vector<Tensor> train_step(Quantizer& q, const Subject& subject, Tensor& x, int phase, float lr, float upstream) {
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
  Tensor weight = upstream_gradient(x.shape());
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

void train(Quantizer& q, const Subject& subject, Tensor& x) {
  for (int phase = 0; phase < q.phases(); ++phase) train_step(q, subject, x, phase);
  train_step(q, subject, x, q.phases() - 1);
}

std::string message_thrown(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string on_grid(const Tensor& y, const Grid& grid) {
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

std::vector<Check> checks() {
  std::vector<Check> all;
  for (const auto& part : {grid_checks(), training_checks(), input_checks()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::string verdict(const Check& check, const Subject& subject) {
  std::string wrong;
  const std::string thrown = message_thrown([&] { wrong = check.run(subject); });
  return thrown.empty() ? wrong : "threw: " + thrown;
}

}  // namespace nibble::test
