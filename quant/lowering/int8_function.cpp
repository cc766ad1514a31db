#include "quant/lowering/int8_function.h"

#include "core/parallel.h"
#include "quant/kernels/fixed_math.h"

namespace nibble {

namespace {

const Coding kProbability{1.0f / 256, 0, 1, 256}, kSigned{1.0f / 128, 128, 1, 256};

void check_input(const Layer& layer, std::span<const std::optional<Coding>> inputs, const Coding& expected) {
  NIBBLE_CHECK(only_coding(layer, inputs) == expected, layer.type(), ": the input is not coded as the layer expects");
}

}  // namespace

Int8Softmax::Int8Softmax(const Options& options) : options_(options) {
  check_uniform("int8_softmax", options.in);
  uint8_t row[1] = {0};
  int8::softmax_codes(row, options.in.scale, row);  // throws if the scale is out of its range
}

std::optional<Coding> Int8Softmax::coding(std::span<const std::optional<Coding>> inputs) const {
  check_input(*this, inputs, options_.in);
  return kProbability;
}

Tensor Int8Softmax::compute(Inputs in) {
  check_lowered_inputs(*this, in, 1, DType::u8);
  const Tensor& x = in[0];
  NIBBLE_CHECK(x.rank() == 2, "int8_softmax: expected rows (N, K), got ", x.shape());
  Tensor y = Tensor::empty_like(x);
  const auto width = static_cast<size_t>(x.dim(1));
  const auto from = x.data<uint8_t>();
  const auto to = y.mutable_data<uint8_t>();
  parallel_for(0, x.dim(0), 64, [=, this](int64_t lo, int64_t hi) {
    for (auto i = static_cast<size_t>(lo); i < static_cast<size_t>(hi); ++i)
      int8::softmax_codes(from.subspan(i * width, width), options_.in.scale, to.subspan(i * width, width));
  });
  return y;
}

Int8Function::Int8Function(const Options& options, CodeFunction function, const Coding& out)
    : options_(options), out_(out) {
  check_uniform("int8_function", options.in);
  for (int code = 0; code < 256; ++code)
    table_[static_cast<size_t>(code)] = function(static_cast<uint8_t>(code), options.in.scale, options.in.zero);
}

std::optional<Coding> Int8Function::coding(std::span<const std::optional<Coding>> inputs) const {
  check_input(*this, inputs, options_.in);
  return out_;
}

Tensor Int8Function::compute(Inputs in) {
  check_lowered_inputs(*this, in, 1, DType::u8);
  Tensor y = Tensor::empty_like(in[0]);
  int8::apply_table(table_, in[0].data<uint8_t>().data(), y.mutable_data<uint8_t>().data(), y.numel());
  return y;
}

Int8Logistic::Int8Logistic(const Options& options) : Int8Function(options, int8::logistic_code, kProbability) {}
Int8Tanh::Int8Tanh(const Options& options) : Int8Function(options, int8::tanh_code, kSigned) {}

NIBBLE_REGISTER_LAYER(Int8Softmax, "int8_softmax", "Lowered: the softmax of each row of codes, in integers.");
NIBBLE_REGISTER_LAYER(Int8Logistic, "int8_logistic", "Lowered: the logistic function of codes, in integers.");
NIBBLE_REGISTER_LAYER(Int8Tanh, "int8_tanh", "Lowered: tanh of codes, in integers.");

}  // namespace nibble
