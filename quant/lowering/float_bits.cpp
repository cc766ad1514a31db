#include "quant/lowering/float_bits.h"

#include <cmath>

#include "core/ops.h"
#include "core/parallel.h"
#include "core/tape.h"
#include "quant/kernels/bit_conv/definition.h"

namespace nibble {

namespace {

constexpr double kExact = 0x1p24;

/// function(code) for every code, f32.
template <class Function>
Tensor mapped(const Tensor& codes, const Function& function) {
  float table[256];
  for (int code = 0; code < 256; ++code) table[code] = function(code);
  Tensor y = Tensor::empty(codes.shape());
  const uint8_t* from = codes.data<uint8_t>().data();
  float* to = y.mutable_data<float>().data();
  parallel_for(0, codes.numel(), 1 << 14, [=, &table](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = table[from[i]];
  });
  return y;
}

Tensor bit(const Tensor& codes, int k) {
  return mapped(codes, [k](int code) { return static_cast<float>(code >> k & 1); });
}

float value_of(int code, double offset, const std::vector<double>& basis) {
  for (size_t k = 0; k < basis.size(); ++k)
    if ((code >> k & 1) != 0) offset += basis[k];
  return static_cast<float>(offset);
}

Tensor weight_codes(const bits::BitConvSpec& s) {
  return Tensor::from<uint8_t>({s.out_channels, s.in_channels / s.geometry.groups, s.kh, s.kw}, s.weights);
}

/// A weight of 1 for every input of a window: one output per group.
Tensor ones(const bits::BitConvSpec& s) {
  return Tensor::full({s.geometry.groups, s.in_channels / s.geometry.groups, s.kh, s.kw}, 1);
}

}  // namespace

FloatBits::FloatBits(const bits::BitConvSpec& spec) : spec_(spec) {
  const double places = static_cast<double>(spec.in_channels / spec.geometry.groups) * spec.kh * spec.kw;
  double most = places;
  if (spec.rule == bits::BitConvSpec::Rule::integer) {
    std::vector<double> basis;
    double w = std::abs(spec.w_offset[0]), a = std::abs(spec.a_offset);
    for (const auto& plane : spec.w_basis) {
      basis.push_back(plane[0]);
      w += std::abs(plane[0]);
    }
    for (const double b : spec.a_basis) a += std::abs(b);
    most *= w * a;
    whole_ = mapped(weight_codes(spec), [&](int code) { return value_of(code, spec.w_offset[0], basis); });
  } else {
    for (int k = 0; k < spec.w_bits; ++k) weight_planes_.push_back(bit(weight_codes(spec), k));
  }
  NIBBLE_CHECK(most < kExact, "its sums may reach ", most, ", which f32 does not hold exactly");
}

FloatBits::Planes FloatBits::count(const Tensor& x, const ConvGeometry& geometry) const {
  Planes planes;
  std::vector<Tensor> inputs;
  for (int j = 0; j < spec_.a_bits; ++j) inputs.push_back(bit(x, j));
  for (const Tensor& weight : weight_planes_)
    for (const Tensor& input : inputs) planes.p.push_back(conv2d(input, weight, {}, geometry));
  for (const Tensor& input : inputs) planes.q.push_back(conv2d(input, ones(spec_), {}, geometry));
  const Tensor blank = Tensor::full({1, x.dim(1), x.dim(2), x.dim(3)}, 1);
  for (const Tensor& weight : weight_planes_) planes.r.push_back(conv2d(blank, weight, {}, geometry));
  planes.t = conv2d(blank, ones(spec_), {}, geometry);
  return planes;
}

void FloatBits::write_whole(const Tensor& x, const ConvGeometry& geometry, const Tensor& y) const {
  const Tensor values =
      mapped(x, [this](int code) { return value_of(code & ((1 << spec_.a_bits) - 1), spec_.a_offset, spec_.a_basis); });
  const Tensor sums = conv2d(values, whole_, {}, geometry);
  const float* acc = sums.data<float>().data();
  const int64_t out = spec_.out_channels;
  parallel_for(0, y.numel(), 1 << 12, [&, acc](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float r = bits::integer_value(spec_, i % out, static_cast<int32_t>(acc[i]));
      if (y.dtype() == DType::f32)
        reinterpret_cast<float*>(y.raw())[i] = r;
      else
        reinterpret_cast<uint8_t*>(y.raw())[i] = bits::code_of(spec_.epilogue, r);
    }
  });
}

void FloatBits::write_learned(const Planes& planes, const Tensor& y) const {
  const int64_t out = spec_.out_channels, pixels = y.dim(1) * y.dim(2), groups = spec_.geometry.groups;
  const auto at = [](const Tensor& t, int64_t i) {
    return static_cast<int32_t>(t.data<float>()[static_cast<size_t>(i)]);
  };
  parallel_for(0, y.numel() / out, 1 + (1 << 12) / out, [&](int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; ++pixel)
      for (int64_t o = 0; o < out; ++o) {
        const int64_t i = pixel * out + o, group = o / (out / groups);
        bits::Counts n;
        for (int k = 0; k < spec_.w_bits; ++k) {
          for (int j = 0; j < spec_.a_bits; ++j) n.p[k][j] = at(planes.p[static_cast<size_t>(k * spec_.a_bits + j)], i);
          n.r[k] = at(planes.r[static_cast<size_t>(k)], pixel % pixels * out + o);
        }
        for (int j = 0; j < spec_.a_bits; ++j) n.q[j] = at(planes.q[static_cast<size_t>(j)], pixel * groups + group);
        n.t = at(planes.t, pixel % pixels * groups + group);
        const float r = bits::learned_value(spec_, o, n);
        if (y.dtype() == DType::f32)
          reinterpret_cast<float*>(y.raw())[i] = r;
        else
          reinterpret_cast<uint8_t*>(y.raw())[i] = bits::code_of(spec_.epilogue, r);
      }
  });
}

void FloatBits::run(const Tensor& x, const Padding& pad, const Tensor& y) const {
  const NoRecord guard;
  ConvGeometry geometry = spec_.geometry;
  geometry.pad = pad;
  if (whole_.defined())
    write_whole(x, geometry, y);
  else
    write_learned(count(x, geometry), y);
}

}  // namespace nibble
