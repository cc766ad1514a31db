#include "apps/kernel_run.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <random>
#include <vector>

#include "core/ops.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "core/tape.h"
#include "quant/kernels/bit_conv/bit_conv.h"
#include "quant/kernels/fixed_point.h"
#include "quant/kernels/int8_conv/int8_conv.h"

namespace nibble {
namespace {

/// Multiply-adds per cycle of two vectors' instructions, which is what processors of these kinds start at most.
double int8_peak(const std::string& kernel) {
  const bool depthwise = kernel.rfind("depthwise", 0) == 0;  // in 16 bits
  const std::string variant = kernel.substr(kernel.rfind(", ") + 2);
  struct Peak {
    const char* variant;
    double macs, depthwise;
  };
  constexpr Peak kPeaks[] = {{"amx", 1024, 64},     {"avx512vnni", 128, 64},   {"avxvnni", 64, 32},
                             {"avx2 runs", 64, 32}, {"avx2 winograd", 72, 32},  // 36 products of 16 bits are 16
                             {"avx2", 32, 32},      {"sse4 runs", 32, 16},     {"sse4", 16, 16},
                             {"i8mm", 64, 8},       {"dotprod", 32, 8},        {"neon", 16, 8}};
  for (const Peak& p : kPeaks)
    if (variant == p.variant) return depthwise ? p.depthwise : p.macs;
  return 1;
}

/// Codes from a normal distribution around 128, like those of trained weights: their range is 10 standard deviations.
std::vector<uint8_t> normal_codes(int64_t n, std::mt19937& random) {
  std::normal_distribution<float> normal(128.f, 25.6f);
  std::vector<uint8_t> codes(static_cast<size_t>(n));
  for (uint8_t& code : codes) code = static_cast<uint8_t>(std::clamp(std::lround(normal(random)), 1L, 255L));
  return codes;
}

std::vector<uint8_t> even_codes(int64_t n, int bits, std::mt19937& random) {
  std::vector<uint8_t> codes(static_cast<size_t>(n));
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() & ((1u << bits) - 1));
  return codes;
}

int64_t taps_of(const ConvLayer& layer) { return layer.group_in() * layer.kernel * layer.kernel; }
ConvGeometry geometry_of(const ConvLayer& layer) {
  return square_geometry(layer.stride, layer.kernel / 2, 1, layer.depthwise ? static_cast<int>(layer.in) : 1);
}

/// A plan of Int8Conv or BitConv with its data.
template <class Conv>
struct CodeRun {
  Conv conv;
  int64_t size;
  std::vector<uint8_t> x, y;
  Tensor scratch;  // which is aligned to cache lines, as in a network

  CodeRun(Conv plan, const ConvLayer& layer, std::vector<uint8_t> codes)
      : conv(std::move(plan)), size(layer.size), x(std::move(codes)) {
    y.resize(static_cast<size_t>(layer.out_size() * layer.out_size() * layer.out));
    scratch = Tensor::empty({conv.scratch_bytes(size, size, 1) * threads()}, DType::u8);
  }
  void operator()() { conv.run(x.data(), 1, size, size, y.data(), {scratch.raw(), scratch.bytes()}); }
};

KernelRun int8_run_of(const ConvLayer& layer, std::vector<uint8_t> weights, std::mt19937& random) {
  int8::Int8ConvSpec spec;
  spec.in_channels = layer.in, spec.out_channels = layer.out;
  spec.kh = spec.kw = layer.kernel;
  spec.geometry = geometry_of(layer);
  spec.weights = std::move(weights);
  spec.w_zero = {128};
  spec.x_zero = 3;
  for (int64_t c = 0; c < layer.out; ++c) {
    const double scale = (0.5 + static_cast<double>(c % 7) / 7) / (32.0 * std::sqrt(taps_of(layer))) / 4;
    const auto m = int8::quantize_multiplier(scale);
    spec.epilogue.multiplier.push_back(m.multiplier), spec.epilogue.shift.push_back(m.shift);
  }
  spec.epilogue.zero = 100;
  const auto run = std::make_shared<CodeRun<int8::Int8Conv>>(int8::Int8Conv(spec), layer,
                                                             normal_codes(layer.size * layer.size * layer.in, random));
  const std::string kernel = run->conv.describe();
  return {kernel, int8_peak(kernel), [run] { (*run)(); }};
}

bits::BitConvSpec bit_spec(const ConvLayer& layer, const FewBits& few, std::mt19937& random) {
  bits::BitConvSpec spec;
  spec.in_channels = layer.in, spec.out_channels = layer.out;
  spec.kh = spec.kw = layer.kernel;
  spec.geometry = geometry_of(layer);
  spec.w_bits = few.w_bits, spec.a_bits = few.a_bits;
  spec.weights = even_codes(taps_of(layer) * layer.out, few.w_bits, random);
  spec.rule = few.learned ? bits::BitConvSpec::Rule::learned : bits::BitConvSpec::Rule::integer;
  const auto entries = static_cast<size_t>(few.learned ? layer.out : 1);
  spec.w_offset.assign(entries, 0);
  for (int k = 0; k < few.w_bits; ++k) {
    spec.w_basis.emplace_back(entries, 2 << k);
    for (size_t o = 0; o < entries; ++o) {
      if (few.learned) spec.w_basis.back()[o] *= 0.9 + 0.2 * static_cast<double>(random() % 1000) / 1000;
      spec.w_offset[o] -= spec.w_basis.back()[o] / 2;
    }
  }
  for (int j = 0; j < few.a_bits; ++j) spec.a_basis.push_back((1 << j) * (few.learned ? 0.95 : 1));
  const double spread = std::sqrt(taps_of(layer)) * (1 << few.w_bits);
  for (int64_t o = 0; o < layer.out; ++o) {
    spec.epilogue.scale.push_back(static_cast<float>((o % 5 == 0 ? -1 : 1) / spread));
    spec.epilogue.offset.push_back(static_cast<float>(o % 7) / 4);
  }
  const int levels = 1 << few.a_bits;
  for (int l = 0; l < levels; ++l) spec.epilogue.codes.push_back(static_cast<uint8_t>(l));
  for (int l = 1; l < levels; ++l) spec.epilogue.thresholds.push_back(static_cast<float>(l));
  return spec;
}

}  // namespace

std::string ConvLayer::name() const {
  char text[96];
  std::snprintf(text, sizeof text, "%s%dx%d%s %lld-%lld, %lldx%lld", depthwise ? "dw " : "", kernel, kernel,
                stride == 2 ? "/2" : "", static_cast<long long>(in), static_cast<long long>(out),
                static_cast<long long>(size), static_cast<long long>(size));
  return text;
}

std::string FewBits::name() const {
  return std::to_string(w_bits) + "x" + std::to_string(a_bits) + (learned ? " learned" : "");
}

KernelRun int8_run(const ConvLayer& layer) {
  std::mt19937 random(1);
  return int8_run_of(layer, normal_codes(taps_of(layer) * layer.out, random), random);
}

KernelRun int8_run(const ConvLayer& layer, int w_bits) {
  std::mt19937 random(1);
  std::vector<uint8_t> weights = even_codes(taps_of(layer) * layer.out, w_bits, random);
  for (uint8_t& w : weights) w = static_cast<uint8_t>(128 + 2 * w + 1 - (1 << w_bits));
  return int8_run_of(layer, std::move(weights), random);
}

KernelRun bit_run(const ConvLayer& layer, const FewBits& few) {
  std::mt19937 random(1);
  const bits::BitConv conv(bit_spec(layer, few, random));
  const auto run = std::make_shared<CodeRun<bits::BitConv>>(
      conv, layer, even_codes(layer.size * layer.size * layer.in, few.a_bits, random));
  return {conv.describe(), 0, [run] { (*run)(); }};
}

KernelRun float_run(const ConvLayer& layer) {
  Rng rng(1);
  Tensor x = Tensor::empty({1, layer.size, layer.size, layer.in});
  Tensor w = Tensor::empty({layer.out, layer.group_in(), layer.kernel, layer.kernel});
  for (Tensor* t : {&x, &w})
    for (float& v : t->mutable_data<float>()) v = rng.next_normal();
  return {"conv2d", 0, [x, w, geometry = geometry_of(layer)] {
            const NoRecord guard;
            conv2d(x, w, {}, geometry);
          }};
}

}  // namespace nibble
