#include "quant/lowering/engine.h"

#include <algorithm>
#include <chrono>

#include "quant/lowering/build_bits.h"
#include "quant/lowering/build_conv.h"

namespace nibble {

namespace {

std::shared_ptr<LoweredLayer> build_uniform(const GemmSite& site, const char* engine) {
  std::string why;
  const std::optional<WeightCodes> weight = weight_codes(site.gemm, why);
  NIBBLE_CHECK(weight, why);
  return build_conv(site, *weight, engine);
}

/// As the engine that would compute the site.
std::shared_ptr<LoweredLayer> build_float(const GemmSite& site) {
  try {
    return build_uniform(site, "float");
  } catch (const Error& uneven) {
    try {
      return build_bits(site, "float");
    } catch (const Error& many) {
      throw Error(concat_text(uneven.what(), "; ", many.what()));
    }
  }
}

double time_once(LoweredLayer& layer, Inputs in) {
  const auto begin = std::chrono::steady_clock::now();
  layer.forward(in, {Mode::eval});
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

std::span<const Engine> engines() {
  static constexpr Engine table[] = {
      {"int8", "integer kernels on codes of up to 8 bits, for weights and inputs on equally spaced levels",
       [](const GemmSite& site) { return build_uniform(site, "int8"); }},
      {"bits", "bitwise kernels on the planes of weights of up to 4 bits and inputs of few, also of learned levels",
       [](const GemmSite& site) -> std::shared_ptr<LoweredLayer> { return build_bits(site, "bits"); }},
      {"float", "the convolution of the float network on codes as whole numbers, which it sums exactly", build_float}};
  return table;
}

double MeasuringClock::seconds(LoweredLayer& layer, const Shape& input) {
  constexpr double kEnough = 0.02;
  constexpr int kFewest = 10, kMost = 200;
  Tensor x = Tensor::empty(input, DType::u8);
  Rng rng(1);
  for (uint8_t& code : x.mutable_data<uint8_t>()) code = static_cast<uint8_t>(rng.next_below(2));
  std::vector<Tensor> inputs{x};
  if (const Shape term = layer.term_shape(input); term.rank() > 0) inputs.push_back(Tensor::zeros(term));
  time_once(layer, inputs);
  double fastest = time_once(layer, inputs), total = fastest;
  for (int i = 1; i < kFewest || (total < kEnough && i < kMost); ++i) {
    const double taken = time_once(layer, inputs);
    fastest = std::min(fastest, taken);
    total += taken;
  }
  return fastest;
}

}  // namespace nibble
