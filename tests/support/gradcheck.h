#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/tape.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"

namespace nibble::test {

using Doubles = std::vector<double>;
using Op = std::function<Tensor(const std::vector<Tensor>&)>;
/// The same function in double precision, written independently; arrays are flattened.
using Reference = std::function<Doubles(const std::vector<Doubles>&)>;

struct GradcheckOptions {
  double step = 1e-4;       ///< of the central difference
  double tolerance = 2e-5;  ///< relative to the largest element of the tensor
  double absolute = 1e-6;
};

/// sum of y[i] * weight[i], recorded: a scalar loss that gives every output its own gradient.
inline Tensor weighted_sum(const Tensor& y, const Tensor& weight) {
  double total = 0;
  for (int64_t i = 0; i < y.numel(); ++i) {
    const auto at = static_cast<size_t>(i);
    total += static_cast<double>(y.data<float>()[at]) * weight.data<float>()[at];
  }
  return record("weighted_sum", Tensor::scalar(static_cast<float>(total)), {y},
                [weight, shape = y.shape()](const Tensor& dy) -> Grads {
                  Tensor dx = Tensor::empty(shape);
                  const float factor = dy.item();
                  const auto from = weight.data<float>();
                  const auto to = dx.mutable_data<float>();
                  for (size_t i = 0; i < to.size(); ++i) to[i] = factor * from[i];
                  return {dx};
                });
}

/// Compares an op with its double-precision reference: the output, and the tape's gradient of a randomly weighted sum
/// of outputs against central differences of the reference, for every element of every input. Returns "" or what
/// differs first. The inputs become leaves that require gradients.
inline std::string gradcheck(const Op& op, const Reference& reference, std::vector<Tensor> inputs,
                             const GradcheckOptions& options = {}) {
  for (Tensor& input : inputs) input = input.clone().set_requires_grad();
  const Tensor y = op(inputs);
  std::vector<Doubles> values;
  for (const Tensor& input : inputs) values.push_back(doubles_of(input));
  if (const auto wrong = compare(y, reference(values), options.tolerance, options.absolute); !wrong.empty()) {
    return "forward: " + wrong;
  }
  const Tensor weight = random_tensor(y.shape(), 77);
  const Doubles weights = doubles_of(weight);
  const auto loss = [&] {
    const Doubles out = reference(values);
    double total = 0;
    for (size_t i = 0; i < out.size(); ++i) total += out[i] * weights[i];
    return total;
  };
  backward(weighted_sum(y, weight));
  for (size_t k = 0; k < inputs.size(); ++k) {
    if (!inputs[k].grad().defined()) return concat_text("input ", k, " got no gradient");
    if (inputs[k].grad().shape() != inputs[k].shape()) return concat_text("gradient ", k, " has another shape");
    Doubles expected(values[k].size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const double at = values[k][i];
      values[k][i] = at + options.step;
      const double above = loss();
      values[k][i] = at - options.step;
      const double below = loss();
      values[k][i] = at;
      expected[i] = (above - below) / (2 * options.step);
    }
    if (const auto wrong = compare(inputs[k].grad(), expected, options.tolerance, options.absolute); !wrong.empty()) {
      return concat_text("gradient of input ", k, ", ", wrong);
    }
  }
  return "";
}

}  // namespace nibble::test
