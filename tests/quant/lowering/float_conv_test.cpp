#include "quant/lowering/float_conv.h"

#include "third_party/doctest.h"

#include "core/rng.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

struct Case {
  int64_t in, out;
  int kernel, stride, groups;
  bool fixed, reals, halves, sums, extreme;
};

int8::Int8ConvSpec spec_of(const Case& c, Rng& rng) {
  int8::Int8ConvSpec s;
  s.in_channels = c.in;
  s.out_channels = c.out;
  s.kh = s.kw = c.kernel;
  s.geometry = square_geometry(c.stride, c.kernel / 2, 1, c.groups);
  s.weights.resize(static_cast<size_t>(c.out * c.in / c.groups * c.kernel * c.kernel));
  for (uint8_t& w : s.weights) w = c.extreme ? 255 : static_cast<uint8_t>(rng.next_below(256));
  s.w_unit = c.halves ? 2 : 1;
  s.w_zero = {c.extreme ? 0 : c.halves ? 255 : 128};
  s.x_zero = c.extreme ? 0 : 37;
  for (int64_t o = 0; o < c.out; ++o) s.bias.push_back(static_cast<int32_t>(rng.next_below(2000)) - 1000);
  s.epilogue.rule = c.fixed ? int8::Epilogue::Rule::fixed : int8::Epilogue::Rule::real;
  s.epilogue.output = c.reals ? int8::Epilogue::Output::reals : int8::Epilogue::Output::codes;
  const int32_t shift = c.extreme ? -20 : -9;
  s.epilogue.multiplier = {1'500'000'001};
  s.epilogue.shift = {shift};
  s.epilogue.scale = {std::ldexp(0.7f, shift)};
  for (int64_t o = 0; o < c.out; ++o) s.epilogue.offset.push_back(static_cast<float>(o) * 0.37f - 1);
  if (c.sums) s.epilogue.x_sum_scale = {0.0123f};
  s.epilogue.zero = 100;
  return s;
}

/// What the integer kernels make of it, as bytes of `y`.
void by_integers(const int8::Int8ConvSpec& s, const Tensor& x, const Tensor& y) {
  const int8::Int8Conv plan(s, "scalar");
  std::vector<uint64_t> scratch(static_cast<size_t>(plan.scratch_bytes(x.dim(1), x.dim(2), x.dim(0)) / 8 + 1));
  plan.run(x.data<uint8_t>().data(), x.dim(0), x.dim(1), x.dim(2), y.raw(), std::as_writable_bytes(std::span(scratch)));
}

}  // namespace

TEST_CASE("float_conv: gives the bits of the integer kernels, also where the sums leave f32's whole numbers") {
  const Case cases[] = {{3, 5, 3, 1, 1, true, false, false, false, false},
                        {8, 6, 3, 2, 2, false, false, true, false, false},
                        {7, 7, 5, 1, 7, true, false, false, false, false},
                        {16, 4, 1, 1, 1, false, true, false, true, false},
                        {12, 9, 3, 1, 3, false, false, true, true, false},
                        {700, 3, 3, 1, 1, true, false, false, false, true},  // sums up to 4e8: 25 parts
                        {300, 4, 3, 1, 2, false, true, false, true, true},
                        {2000, 2, 1, 1, 1, false, false, false, false, true}};
  Rng rng(5);
  for (const Case& c : cases) {
    CAPTURE(c.in);
    CAPTURE(c.extreme);
    const int8::Int8ConvSpec s = spec_of(c, rng);
    Tensor x = Tensor::empty({2, 6, 5, c.in}, DType::u8);
    for (uint8_t& code : x.mutable_data<uint8_t>())
      code = c.extreme ? static_cast<uint8_t>(254 + rng.next_below(2)) : static_cast<uint8_t>(rng.next_below(256));
    const int8::Int8Conv::Extent out = int8::Int8Conv(s, "scalar").output(6, 5);
    const DType type = c.reals ? DType::f32 : DType::u8;
    const Tensor expected = Tensor::zeros({2, out.h, out.w, c.out}, type),
                 found = Tensor::zeros(expected.shape(), type);
    by_integers(s, x, expected);
    FloatConv(s).run(x, s.geometry.pad, found);
    CHECK(std::memcmp(expected.raw(), found.raw(), expected.bytes()) == 0);
  }
}

TEST_CASE("float_conv: refuses a window of which one channel alone leaves the exact range") {
  Rng rng(6);
  const int8::Int8ConvSpec s = spec_of({1, 1, 17, 1, 1, true, false, false, false, true}, rng);
  CHECK(mentions(message_of([&] { FloatConv conv(s); }), {"one channel", "exactly"}));
}
