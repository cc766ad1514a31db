#include "quant/lowering/lowered_layer.h"

#include <algorithm>

#include "layers/state_limit.h"

namespace nibble {

Tensor LoweredLayer::forward(Inputs in, const Pass& pass) {
  NIBBLE_CHECK(pass.mode == Mode::eval, type(), ": a lowered network cannot be trained; train the checkpoint that it ",
               "was made from and lower that");
  return compute(in);
}

Json without_defaults(const Json& options, const Json& defaults, std::initializer_list<const char*> required) {
  Json kept = Json::object();
  for (const auto& [key, value] : options.items()) {
    const bool needed = std::ranges::find(required, key) != required.end();
    if (needed || !defaults.contains(key) || defaults.at(key) != value) kept[key] = value;
  }
  return kept;
}

void check_lowered_inputs(const Layer& layer, Inputs in, size_t count, DType type) {
  NIBBLE_CHECK(count == 0 ? !in.empty() : in.size() == count, layer.type(), ": expected ",
               count == 0 ? "one or more" : std::to_string(count), " inputs, got ", in.size());
  for (const Tensor& x : in)
    NIBBLE_CHECK(x.dtype() == type, layer.type(), ": expected ", type == DType::u8 ? "codes (u8)" : "values (f32)",
                 ", got ", name_of(x.dtype()), x.shape());
}

const Coding& only_coding(const Layer& layer, std::span<const std::optional<Coding>> inputs) {
  NIBBLE_CHECK(inputs.size() == 1, layer.type(), ": expected 1 input, got ", inputs.size());
  NIBBLE_CHECK(inputs[0].has_value(), layer.type(), ": expected an input of codes, got one of values (f32)");
  return *inputs[0];
}

const Coding& gemm_coding(const Layer& layer, std::span<const std::optional<Coding>> inputs, bool term) {
  if (!term) return only_coding(layer, inputs);
  NIBBLE_CHECK(inputs.size() == 2 && !inputs[1], layer.type(), ": expected codes and values (f32) to add, got ",
               inputs.size(), " inputs", inputs.size() == 2 ? ", both codes" : "");
  return only_coding(layer, inputs.first(1));
}

void check_gemm_inputs(const Layer& layer, Inputs in, bool term) {
  if (!term) return check_lowered_inputs(layer, in, 1, DType::u8);
  NIBBLE_CHECK(in.size() == 2, layer.type(), ": expected 2 inputs, got ", in.size());
  check_lowered_inputs(layer, in.first(1), 1, DType::u8);
  check_lowered_inputs(layer, in.last(1), 1, DType::f32);
}

void check_term(const Layer& layer, const Tensor& term, const Shape& output) {
  NIBBLE_CHECK(term.shape() == output, layer.type(), ": the second input ", term.shape(), " is added to an output ",
               output);
}

void check_uniform(const char* who, const Coding& coding) {
  coding.check();
  NIBBLE_CHECK(coding.uniform(), who, ": expected codes of equally spaced levels, the coding has a basis");
}

void check_output(const Layer& layer, const Shape& shape) {
  const int64_t samples = shape.rank() > 0 ? std::max<int64_t>(1, shape[0]) : 1;
  NIBBLE_CHECK(shape.numel() / samples <= kMostActivations, layer.type(), ": an output ", shape, " has more than the ",
               kMostActivations, " values per sample that are accepted");
}

Tensor new_output(const Layer& layer, const Shape& shape, DType type) {
  check_output(layer, shape);
  return Tensor::empty(shape, type);
}

Tensor new_buffer(const Shape& shape, DType type, const char* who) {
  constexpr int64_t kMost = int64_t{1} << 28;
  NIBBLE_CHECK(shape.numel() <= kMost, who, ": a buffer ", shape, " is larger than the ", kMost,
               " elements that are accepted");
  StateLimit::take(who, shape.numel() * static_cast<int64_t>(size_of(type)));
  // Memory that nobody touches takes no room: a mapped file's buffers are replaced, others are written from it.
  return StateLimit::active() ? Tensor::empty(shape, type) : Tensor::zeros(shape, type);
}

}  // namespace nibble
