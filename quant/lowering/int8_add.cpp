#include "quant/lowering/int8_add.h"

#include <algorithm>

namespace nibble {

namespace {

int8::Int8AddSpec spec_of(const Int8AddLayer::Options& o) {
  int8::Int8AddSpec spec;
  spec.real = o.epilogue == "float";
  spec.a_scale = o.a.scale;
  spec.b_scale = o.b.scale;
  spec.out_scale = o.out.scale;
  spec.a_zero = o.a.zero;
  spec.b_zero = o.b.zero;
  spec.out_zero = o.out.zero;
  spec.lo = o.lo;
  spec.hi = o.hi;
  return spec;
}

}  // namespace

void Int8AddLayer::Options::fields(Fields& f) {
  f.choice("epilogue", epilogue, {"fixed", "float"}, "fixed-point or single-precision rescaling");
  a.fields(f, "a_");
  b.fields(f, "b_");
  out.fields(f);
  f("lo", lo, "smallest code of the output", {0, 255});
  f("hi", hi, "largest code of the output", {0, 255});
}

Int8AddLayer::Int8AddLayer(const Options& options) : options_(options), add_(spec_of(options)) {
  for (const Coding* coding : {&options.a, &options.b, &options.out}) check_uniform("int8_add", *coding);
  NIBBLE_CHECK(options.out.unit == 1 && options.lo <= options.hi && options.hi <= options.out.highest(),
               "int8_add: expected lo <= hi <= ", options.out.highest(), " and unit 1, got lo ", options.lo, ", hi ",
               options.hi, ", unit ", options.out.unit);
}

std::optional<Coding> Int8AddLayer::coding(std::span<const std::optional<Coding>> inputs) const {
  NIBBLE_CHECK(inputs.size() == 2 && inputs[0] == options_.a && inputs[1] == options_.b,
               "int8_add: the inputs are not coded as the layer expects");
  return options_.out;
}

Tensor Int8AddLayer::compute(Inputs in) {
  check_lowered_inputs(*this, in, 2, DType::u8);
  const Tensor &a = in[0], &b = in[1];
  NIBBLE_CHECK(a.shape() == b.shape(), "int8_add: shapes differ: ", a.shape(), " and ", b.shape());
  Tensor y = Tensor::empty_like(a);
  add_.run(a.data<uint8_t>().data(), b.data<uint8_t>().data(), y.mutable_data<uint8_t>().data(), y.numel());
  return y;
}

NIBBLE_REGISTER_LAYER(Int8AddLayer, "int8_add", "Lowered: the sum of two tensors of codes.");

}  // namespace nibble
