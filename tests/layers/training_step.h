#pragma once

#include <map>
#include <string>

#include "core/ops.h"
#include "tests/layers/support.h"

namespace nibble::test {

/// What a training step leaves: outputs, gradients of the input and of all parameters, and buffers, as bits. `defined`
/// is the graph that has the state, `run` the one that computes.
inline std::map<std::string, std::string> step_of(const Graph& defined, const Graph& run, const Tensor& x) {
  std::map<std::string, std::string> bits;
  const auto keep = [&bits](const std::string& name, const Tensor& t) {
    bits[name] = t.defined() ? std::string(reinterpret_cast<const char*>(t.raw()), t.bytes()) : "none";
  };
  Tensor input = x.clone().set_requires_grad();
  Rng rng(3);
  const std::vector<Tensor> outputs = run.forward_all(input, {Mode::train, &rng});
  Tensor loss;
  for (size_t i = 0; i < outputs.size(); ++i) {
    keep("output " + std::to_string(i), outputs[i]);
    // Every element gets a gradient of its own.
    const Tensor flat = reshape(outputs[i], {1, outputs[i].numel()});
    const Tensor part = sum(linear(flat, random_tensor({1, outputs[i].numel()}, 7 + i), {}));
    loss = loss.defined() ? add(loss, part) : part;
  }
  backward(loss);
  keep("input", input.grad());
  for (const NamedTensor& named : state_of(defined)) {
    keep(named.name, named.tensor);
    if (named.is_param) keep("gradient of " + named.name, named.tensor.grad());
  }
  return bits;
}

}  // namespace nibble::test
