#pragma once

#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "layers/quantizer.h"
#include "tests/support/gradcheck.h"

/// What every quantizer must do, whatever its method: the conformance battery, run over all that are registered.
namespace nibble::test {

/// A quantizer under test: how to build one for a tensor of a given shape, and where it sits.
struct Subject {
  std::function<std::shared_ptr<Quantizer>(const Shape&)> make;
  bool weight = false;
  int bits = 0;              ///< of its codes, if it has the option
  bool may_be_real = false;  ///< a variant may use real values in evaluation; by default a quantizer quantizes

  Shape shape() const { return weight ? Shape{8, 12, 3, 3} : Shape{4, 6, 6, 8}; }
  /// For checks that go over the elements one by one.
  Shape small_shape() const { return weight ? Shape{4, 3, 3, 3} : Shape{2, 3, 3, 6}; }
  Tensor data(uint64_t seed) const { return data_of(shape(), seed); }
  Tensor data_of(const Shape& of, uint64_t seed) const {
    return normal_tensor(of, seed, weight ? 0.0f : 0.3f, weight ? 0.1f : 1.0f);
  }
  /// The grid of its output for x.
  Grid grid(const Quantizer& q, const Tensor& x) const { return q.grid(weight ? x : Tensor{}); }
};

/// Parameters and buffers by name.
struct StateList final : StateVisitor {
  std::vector<std::pair<std::string, Tensor>> params, buffers;
  explicit StateList(Layer& layer) { layer.visit(*this); }
  std::vector<std::pair<std::string, Tensor>> all() const;

 private:
  void on_param(const std::string& name, Tensor& tensor, const ParamTraits&) override {
    params.emplace_back(name, tensor);
  }
  void on_buffer(const std::string& name, Tensor& tensor) override { buffers.emplace_back(name, tensor); }
};

std::vector<Tensor> copy_state(Layer& layer);
/// "" or the name of the first tensor that differs.
std::string compare_state(Layer& layer, const std::vector<Tensor>& expected);

/// One training step as the trainer makes it: forward, backward, what follows an update. Parameters and weights move a
/// little against their gradients. Returns output, gradient of x and those of the parameters.
std::vector<Tensor> train_step(Quantizer& q, const Subject& subject, Tensor& x, int phase, float lr = 1e-3f,
                               float upstream = 1);
/// The gradient of the output that train_step() sends back, for upstream = 1.
Tensor upstream_gradient(const Shape& shape);
/// Trains through all phases; x is the weight, which the quantizer may move, or an activation.
void train(Quantizer& q, const Subject& subject, Tensor& x);
inline Tensor evaluate(Quantizer& q, const Tensor& x) { return q.forward({&x, 1}, {}); }

/// The message of the Error that body throws; "" if it throws none.
std::string message_thrown(const std::function<void()>& body);
/// "" if every value of y is a level of its channel.
std::string on_grid(const Tensor& y, const Grid& grid);

/// `run` returns "" or what is wrong.
struct Check {
  const char* name;
  std::string (*run)(const Subject&);
};
std::span<const Check> grid_checks();      ///< what the output looks like
std::span<const Check> training_checks();  ///< state, gradients, threads
std::span<const Check> input_checks();     ///< odd inputs and parameters
/// All of them.
std::vector<Check> checks();
/// The check's verdict; an Error that it did not expect is one, too.
std::string verdict(const Check& check, const Subject& subject);

}  // namespace nibble::test
