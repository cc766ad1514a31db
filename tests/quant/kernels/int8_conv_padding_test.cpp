#include <random>

#include "core/error.h"
#include "quant/kernels/int8_conv/int8_conv.h"
#include "quant/kernels/int8_gemm/dispatch.h"
#include "tests/quant/kernels/int8_reference.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::int8;

namespace {

struct Network {
  int in, out, kernel, groups;
};

Int8ConvSpec random_spec(const Network& n, std::mt19937& rng) {
  Int8ConvSpec spec;
  spec.in_channels = n.in, spec.out_channels = n.out, spec.kh = spec.kw = n.kernel;
  spec.geometry.groups = n.groups;
  spec.weights.resize(static_cast<size_t>(n.out * n.in / n.groups * n.kernel * n.kernel));
  for (uint8_t& w : spec.weights) w = static_cast<uint8_t>(rng());
  spec.w_zero = {131};
  spec.x_zero = 7;
  spec.epilogue.output = Epilogue::Output::accumulators;
  return spec;
}

std::vector<int32_t> run(const Int8Conv& conv, const std::vector<uint8_t>& x, int64_t h, int64_t w) {
  const Int8Conv::Extent out = conv.output(h, w);
  std::vector<int32_t> y(static_cast<size_t>(out.h * out.w * conv.out_channels()));
  std::vector<std::byte> scratch(static_cast<size_t>(conv.scratch_bytes(h, w, 1)));
  conv.run(x.data(), 1, h, w, y.data(), scratch);
  return y;
}

}  // namespace

TEST_CASE("int8 conv: another border on the same weights is the convolution of that border") {
  constexpr int64_t kH = 8, kW = 7;
  for (const Network& n : {Network{16, 20, 3, 1}, {6, 6, 3, 6}, {16, 16, 3, 2}, {16, 8, 1, 1}})
    for (const auto& v : gemm_variants()) {
      if (!cpu::has(v.needs)) continue;
      CAPTURE(v.name);
      CAPTURE(n.in);
      CAPTURE(n.groups);
      std::mt19937 rng(3);
      Int8ConvSpec spec = random_spec(n, rng);
      std::vector<uint8_t> x(static_cast<size_t>(kH * kW * n.in));
      for (uint8_t& code : x) code = static_cast<uint8_t>(rng());
      const Int8Conv plain(spec, v.name);
      for (const Padding& pad : {Padding{1, 1, 1, 1}, Padding{0, 1, 0, 1}, Padding{}}) {
        const Int8Conv other = plain.with_padding(pad);
        spec.geometry.pad = pad;
        CHECK((run(other, x, kH, kW) == test::reference_conv(spec, x, 1, kH, kW).accumulators));
        CHECK(other.packed_bytes() == plain.packed_bytes());
        CHECK((run(other.with_padding({}), x, kH, kW) == run(plain, x, kH, kW)));
      }
      CHECK_THROWS_AS(plain.with_padding({-1, 0, 0, 0}), Error);
      spec.geometry.pad = {};
    }
}
