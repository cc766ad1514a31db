#include "quant/lowering/encode.h"

namespace nibble {

void Encode::Options::fields(Fields& f) {
  f.required().raw("grid", grid, "a grid", "the levels, and what is rounded to which");
}

Encode::Encode(const Options& options) : options_(options), grid_(grid_from_json(options.grid)) {
  std::string why;
  const std::optional<Coding> coding = coding_of(grid_, why);
  NIBBLE_CHECK(coding, "encode: the grid cannot be written as codes: ", why);
  coding_ = *coding;
  table_ = code_table(grid_, coding_);
}

std::optional<Coding> Encode::coding(std::span<const std::optional<Coding>> inputs) const {
  NIBBLE_CHECK(inputs.size() == 1 && !inputs[0], "encode: expected one input of values (f32)");
  return coding_;
}

Tensor Encode::compute(Inputs in) {
  check_lowered_inputs(*this, in, 1, DType::f32);
  Tensor codes = encode(in[0], grid_);
  if (coding_.unit == 2 || coding_.ladder) {
    for (uint8_t& code : codes.mutable_data<uint8_t>()) code = table_[code];
  }
  return codes;
}

NIBBLE_REGISTER_LAYER(Encode, "encode", "Lowered: reals to the codes of a grid.");

}  // namespace nibble
