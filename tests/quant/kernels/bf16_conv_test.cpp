#include "quant/kernels/bf16_conv/bf16_conv.h"

#include <bit>
#include <limits>

#include "core/parallel.h"
#include "quant/kernels/bf16_gemm/dispatch.h"
#include "tests/core/kernels/conv_reference.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

using bf16::ConvPass;
using test::ConvShape;
using test::random_floats;
using test::shape_of;
using Floats = std::vector<float>;

/// To 8 significant bits, ties to even, by way of the definition.
float rounded(float v) {
  int exponent = 0;
  const float mantissa = std::frexp(v, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, 8)), exponent - 8);
}
Floats rounded(Floats v) {
  for (float& f : v) f = rounded(f);
  return v;
}

const std::vector<ConvShape>& shapes() {
  static const std::vector<ConvShape> all{
      shape_of(3, 8, 8, 16, 16, 3, 3, square_geometry(1, 1)),        // ResNet-20
      shape_of(2, 9, 8, 16, 32, 3, 3, square_geometry(2, 1)),        // strided, odd rows
      shape_of(2, 8, 8, 64, 64, 3, 3, square_geometry(1, 1)),        // several panels, one place too many for a group
      shape_of(2, 7, 7, 34, 38, 3, 3, square_geometry(1, 1)),        // channel tails
      shape_of(2, 6, 6, 24, 40, 1, 1, square_geometry(1, 0)),        // pointwise
      shape_of(2, 7, 6, 24, 18, 1, 1, square_geometry(2, 0)),        // pointwise, strided
      shape_of(7, 1, 1, 20, 18, 1, 1, square_geometry(1, 0)),        // one pixel
      shape_of(1, 3, 3, 4, 4, 1, 1, square_geometry(3, 2)),          // windows wholly inside the padding
      shape_of(1, 23, 22, 2, 6, 11, 11, square_geometry(4, 2)),      // AlexNet
      shape_of(2, 8, 9, 6, 8, 3, 3, {2, 2, {0, 1, 0, 1}, 1, 1, 1}),  // TensorFlow's SAME
      shape_of(2, 8, 9, 6, 8, 2, 4, {1, 1, {1, 0, 2, 3}, 1, 1, 1}),  // nothing symmetric
      shape_of(1, 12, 13, 8, 10, 3, 3, square_geometry(1, 2, 2)),    // dilated
      shape_of(1, 12, 13, 8, 10, 3, 2, {2, 2, {2, 1, 0, 4}, 2, 3, 1}),
      shape_of(1, 9, 9, 4, 4, 2, 2, square_geometry(3, 0)),     // pixels that no window sees
      shape_of(1, 4, 4, 6, 8, 3, 3, square_geometry(1, 5)),     // more padding than kernel
      shape_of(1, 120, 90, 32, 4, 3, 3, square_geometry(1, 1))  // bands
  };
  return all;
}

TEST_CASE("bf16_conv: fits what it computes") {
  const auto fits = [](const ConvShape& s, ConvPass pass) { return bf16::fits(s, pass); };
  const ConvShape odd = shape_of(1, 8, 8, 3, 4, 3, 3, square_geometry(1, 1));
  CHECK(!fits(odd, ConvPass::forward));
  CHECK(fits(odd, ConvPass::data));
  CHECK(!fits(odd, ConvPass::weights));
  CHECK(!fits(shape_of(1, 8, 8, 4, 4, 3, 3, square_geometry(1, 1, 1, 2)), ConvPass::forward));
  CHECK(!fits(shape_of(1, 8, 8, 4, 4, 3, 3, {1, 2, {1, 1, 1, 1}, 1, 1, 1}), ConvPass::data));
}

TEST_CASE("bf16_conv: every variant and pass adds the products of rounded values") {
  for (const ConvShape& s : shapes()) {
    const Floats x = random_floats(s.n * s.h * s.w * s.c, 1), w = random_floats(s.weights(), 2);
    const Floats dy = random_floats(s.n * s.oh * s.ow * s.o, 3), base = random_floats(s.n * s.oh * s.ow * s.o, 4);
    const Floats factor = random_floats(s.o, 5), offset = random_floats(s.o, 6),
                 dx = random_floats(s.n * s.h * s.w * s.c, 7);
    test::Results want = test::reference(s, rounded(x), rounded(w), offset, rounded(dy));
    for (size_t i = 0; i < base.size(); ++i)
      want.y[i] += double{factor[i % factor.size()]} * static_cast<double>(base[i]);
    for (size_t i = 0; i < dx.size(); ++i) want.dx[i] += double{dx[i]};
    const std::string what = test::text(s);
    CAPTURE(what);
    for (const auto& v : bf16::gemm_variants()) {
      CAPTURE(v.name);
      if (!cpu::has(v.needs)) {
        MESSAGE("not run on this CPU: ", v.name);
        continue;
      }
      REQUIRE((bf16::fits(s, ConvPass::forward) && bf16::fits(s, ConvPass::data)));
      Floats y(dy.size(), NAN), in_place = base, gradient = dx;
      bf16::conv_forward(v.fn(), s, x.data(), w.data(), base.data(), factor.data(), offset.data(), y.data());
      CHECK(test::worst(y, want.y) < 2e-6);
      bf16::conv_forward(v.fn(), s, x.data(), w.data(), in_place.data(), factor.data(), offset.data(), in_place.data());
      const bool same = in_place == y;
      CHECK(same);
      bf16::conv_backward_data(v.fn(), s, dy.data(), w.data(), gradient.data());
      CHECK(test::worst(gradient, want.dx) < 2e-6);
    }
  }
}

TEST_CASE("bf16_conv: values are rounded to the nearest, ties to even") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Floats x{0, -0.f, 1, 1.00390625f, 1.01171875f, -1.00390625f, 3.4e38f, kInfinity, -kInfinity};
  for (const float f : random_floats(40, 3)) x.push_back(f * 1e20f);
  for (const auto& v : bf16::gemm_variants()) {
    CAPTURE(v.name);
    if (!cpu::has(v.needs)) continue;
    for (const size_t n : {x.size(), size_t{16}, size_t{3}}) {
      std::vector<uint16_t> to(n + 1, 0xABCD);
      v.fn().round(x.data(), static_cast<int64_t>(n), to.data());
      for (size_t i = 0; i < n; ++i) {
        CAPTURE(x[i]);
        const auto got = std::bit_cast<float>(uint32_t{to[i]} << 16);
        CHECK(got == (std::isinf(x[i]) || x[i] == 3.4e38f ? std::copysign(kInfinity, x[i]) : rounded(x[i])));
        CHECK(std::signbit(got) == std::signbit(x[i]));
      }
      CHECK(to[n] == 0xABCD);
    }
    uint16_t nan = 0;
    const float poison = std::numeric_limits<float>::quiet_NaN();
    v.fn().round(&poison, 1, &nan);
    CHECK(std::isnan(std::bit_cast<float>(uint32_t{nan} << 16)));
  }
}

TEST_CASE("bf16_conv: results are the same bits for every number of threads") {
  const int before = threads();
  const ConvShape s = shape_of(5, 40, 15, 16, 48, 3, 3, square_geometry(1, 1));
  const Floats x = random_floats(s.n * s.h * s.w * s.c, 1), w = random_floats(s.weights(), 2);
  const Floats dy = random_floats(s.n * s.oh * s.ow * s.o, 3);
  for (const auto& v : bf16::gemm_variants()) {
    if (!cpu::has(v.needs)) continue;
    std::vector<std::pair<Floats, Floats>> results;
    for (const int n : {1, 2, 3, 7}) {
      set_threads(n);
      Floats y = dy, dx = x;
      bf16::conv_forward(v.fn(), s, x.data(), w.data(), y.data(), nullptr, nullptr, y.data());
      bf16::conv_backward_data(v.fn(), s, dy.data(), w.data(), dx.data());
      results.emplace_back(y, dx);
    }
    for (const auto& r : results) {
      const bool same = r == results.front();
      CHECK(same);
    }
  }
  set_threads(before);
}

}  // namespace
}  // namespace nibble
