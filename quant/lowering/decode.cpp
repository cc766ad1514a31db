#include "quant/lowering/decode.h"

#include "core/parallel.h"

namespace nibble {

Decode::Decode(const Options& options) : options_(options) {
  options.coding.check();
  for (int code = 0; code < 256; ++code) values_[static_cast<size_t>(code)] = options.coding.value(code);
}

std::optional<Coding> Decode::coding(std::span<const std::optional<Coding>> inputs) const {
  const Coding& in = only_coding(*this, inputs);
  NIBBLE_CHECK(in == options_.coding, "decode: the input is coded with scale ", in.scale, " and zero ", in.zero,
               ", expected ", options_.coding.scale, " and ", options_.coding.zero);
  return std::nullopt;
}

Tensor Decode::compute(Inputs in) {
  check_lowered_inputs(*this, in, 1, DType::u8);
  Tensor y = Tensor::empty(in[0].shape());
  const uint8_t* from = in[0].data<uint8_t>().data();
  float* to = y.mutable_data<float>().data();
  parallel_for(0, y.numel(), 1 << 14, [=, this](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) to[i] = values_[from[i]];
  });
  return y;
}

NIBBLE_REGISTER_LAYER(Decode, "decode", "Lowered: codes to the reals that they stand for.");

}  // namespace nibble
