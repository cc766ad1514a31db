#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/kernels/conv_f32/dispatch.h"
#include "core/kernels/conv_f32/driver.h"
#include "core/parallel.h"
#include "tests/core/kernels/conv_reference.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

using conv_f32::ConvPass;
using conv_f32::ConvShape;
using test::random_floats;
using test::reference;
using test::Results;
using test::shape_of;
using test::text;
using test::worst;

struct Outputs {
  std::vector<float> y, dx, dw;
  bool operator==(const Outputs&) const = default;
};

Outputs run(const conv_f32::Kernels& k, const ConvShape& s, const std::vector<float>& x, const std::vector<float>& w,
            const float* bias, const std::vector<float>& dy) {
  // NaN shows elements that nobody wrote.
  Outputs r{std::vector<float>(dy.size(), NAN), std::vector<float>(x.size(), NAN), std::vector<float>(w.size(), NAN)};
  conv_f32::conv_forward(k, s, x.data(), w.data(), bias, r.y.data());
  conv_f32::conv_backward_data(k, s, dy.data(), w.data(), r.dx.data());
  conv_f32::conv_backward_weights(k, s, x.data(), dy.data(), r.dw.data());
  return r;
}

const std::vector<ConvShape>& shapes() {
  static const std::vector<ConvShape> all{
      shape_of(2, 5, 7, 3, 16, 3, 3, square_geometry(1, 1)),             // first layer
      shape_of(3, 8, 8, 16, 16, 3, 3, square_geometry(1, 1)),            // ResNet-20
      shape_of(2, 9, 8, 16, 32, 3, 3, square_geometry(2, 1)),            // strided, odd rows
      shape_of(2, 7, 7, 33, 35, 3, 3, square_geometry(1, 1)),            // channel tails
      shape_of(1, 11, 10, 5, 65, 3, 3, square_geometry(1, 1)),           // three panels
      shape_of(2, 6, 6, 24, 40, 1, 1, square_geometry(1, 0)),            // pointwise
      shape_of(2, 7, 6, 24, 17, 1, 1, square_geometry(2, 0)),            // pointwise, strided
      shape_of(7, 1, 1, 20, 18, 1, 1, square_geometry(1, 0)),            // pointwise, one pixel
      shape_of(1, 3, 3, 4, 4, 1, 1, square_geometry(3, 2)),              // windows wholly inside the padding
      shape_of(1, 17, 19, 3, 20, 7, 7, square_geometry(2, 3)),           // ImageNet stem
      shape_of(1, 23, 22, 2, 5, 11, 11, square_geometry(4, 2)),          // AlexNet
      shape_of(2, 8, 9, 6, 7, 3, 3, {2, 2, {0, 1, 0, 1}, 1, 1, 1}),      // TensorFlow's SAME
      shape_of(2, 8, 9, 6, 7, 2, 4, {1, 3, {1, 0, 2, 3}, 1, 1, 1}),      // nothing symmetric
      shape_of(1, 12, 13, 8, 9, 3, 3, square_geometry(1, 2, 2)),         // dilated
      shape_of(1, 12, 13, 8, 9, 3, 2, {2, 3, {2, 1, 0, 4}, 2, 3, 1}),    // dilated and strided
      shape_of(1, 10, 10, 5, 6, 3, 3, square_geometry(1, 0)),            // valid: no border to add
      shape_of(1, 9, 9, 4, 4, 2, 2, square_geometry(3, 0)),              // pixels that no window sees
      shape_of(1, 4, 4, 3, 5, 3, 3, square_geometry(1, 5)),              // more padding than kernel
      shape_of(2, 6, 5, 12, 18, 3, 3, square_geometry(1, 1, 1, 3)),      // grouped
      shape_of(2, 6, 5, 12, 18, 1, 1, square_geometry(1, 0, 1, 2)),      // grouped, no border
      shape_of(1, 6, 5, 4, 8, 3, 3, square_geometry(1, 1, 1, 4)),        // channel multiplier 2
      shape_of(2, 9, 11, 19, 19, 3, 3, square_geometry(1, 1, 1, 19)),    // depthwise
      shape_of(1, 10, 9, 40, 40, 5, 5, square_geometry(2, 2, 1, 40)),    // depthwise, strided
      shape_of(1, 8, 20, 16, 16, 3, 3, {1, 1, {0, 0, 0, 0}, 1, 2, 16}),  // depthwise, valid, dilated
      shape_of(1, 4, 5, 128, 128, 3, 3, square_geometry(1, 1)),          // pitches that are spread over the cache
      shape_of(2, 3, 3, 128, 256, 1, 1, square_geometry(1, 0)),
      shape_of(1, 4, 3, 256, 8, 3, 3, square_geometry(1, 1, 1, 2)),
      shape_of(2, 5, 5, 128, 128, 3, 3, square_geometry(2, 1, 1, 128)),
      shape_of(1, 40, 30, 4, 5, 3, 3, square_geometry(1, 1)),  // several chains per image
      shape_of(1, 6, 6, 16, 65, 3, 3, square_geometry(1, 1)),  // outputs as rows, in two slices
  };
  return all;
}

TEST_CASE("conv_f32: every variant and pass agrees with the definition") {
  for (const ConvShape& s : shapes()) {
    const auto x = random_floats(s.n * s.h * s.w * s.c, 1), w = random_floats(s.weights(), 2);
    const auto bias = random_floats(s.o, 3), dy = random_floats(s.n * s.oh * s.ow * s.o, 4);
    const Results want = reference(s, x, w, bias, dy);
    const std::string what = text(s);
    CAPTURE(what);
    for (const auto& v : conv_f32::variants()) {
      CAPTURE(v.name);
      if (!cpu::has(v.needs)) {
        MESSAGE("not run on this CPU: ", v.name);
        continue;
      }
      const Outputs got = run(v.fn(), s, x, w, bias.data(), dy);
      CHECK(worst(got.y, want.y) < 2e-6);
      CHECK(worst(got.dx, want.dx) < 2e-6);
      CHECK(worst(got.dw, want.dw) < 2e-6);
    }
  }
}

/// Shapes whose gradients go through Winograd's transform.
const std::vector<ConvShape>& winograd_shapes() {
  static const std::vector<ConvShape> all{
      shape_of(8, 8, 8, 16, 16, 3, 3, square_geometry(1, 1)),           // whole tiles
      shape_of(5, 13, 11, 19, 33, 3, 3, square_geometry(1, 1)),         // tails of channels and tiles, an odd unit
      shape_of(9, 8, 8, 16, 40, 3, 3, square_geometry(1, 0)),           // valid: the gradients need a border
      shape_of(8, 6, 9, 32, 16, 3, 3, square_geometry(1, 2)),           // full
      shape_of(6, 9, 10, 17, 16, 3, 3, {1, 1, {0, 2, 1, 0}, 1, 1, 1}),  // nothing symmetric
      shape_of(2, 16, 16, 128, 64, 3, 3, square_geometry(1, 1)),        // panels, parts of the positions
  };
  return all;
}

TEST_CASE("conv_f32: Winograd's transform agrees with the definition in every variant and pass") {
  for (const ConvShape& s : winograd_shapes()) {
    const auto x = random_floats(s.n * s.h * s.w * s.c, 1), w = random_floats(s.weights(), 2);
    const auto dy = random_floats(s.n * s.oh * s.ow * s.o, 4);
    const Results want = reference(s, x, w, std::vector<float>(static_cast<size_t>(s.o)), dy);
    const std::string what = text(s);
    CAPTURE(what);
    CHECK(choose_conv(s, ConvPass::forward) != "winograd");
    CHECK(choose_conv(s, ConvPass::data) == "winograd");
    CHECK(choose_conv(s, ConvPass::weights) == "winograd");
    for (const auto& v : conv_f32::variants()) {
      CAPTURE(v.name);
      if (!cpu::has(v.needs)) continue;
      Outputs got = run(v.fn(), s, x, w, nullptr, dy);
      CHECK(worst(got.dx, want.dx) < 1e-5);
      CHECK(worst(got.dw, want.dw) < 1e-5);
      conv_f32::conv_forward_fast(v.fn(), s, {0, s.n}, x.data(), w.data(), got.y.data());
      CHECK(worst(got.y, want.y) < 1e-5);
      Outputs parts = got;
      std::ranges::fill(parts.y, NAN);
      conv_f32::conv_forward_fast(v.fn(), s, {0, 1}, x.data(), w.data(), parts.y.data());
      conv_f32::conv_forward_fast(v.fn(), s, {1, s.n - 1}, x.data(), w.data(), parts.y.data());
      const bool same = parts == got;
      CHECK(same);
    }
  }
}

TEST_CASE("conv_f32: the variants with fused multiply-adds agree bit for bit") {
  for (const ConvShape& s : shapes()) {
    const auto x = random_floats(s.n * s.h * s.w * s.c, 1), w = random_floats(s.weights(), 2);
    const auto bias = random_floats(s.o, 3), dy = random_floats(s.n * s.oh * s.ow * s.o, 4);
    std::vector<Outputs> results;
    for (const auto& v : conv_f32::variants())
      if (cpu::has(v.needs) && v.name != std::string("scalar"))
        results.push_back(run(v.fn(), s, x, w, bias.data(), dy));
    const std::string what = text(s);
    CAPTURE(what);
    for (const Outputs& r : results) {
      const bool same = r == results.front();
      CHECK(same);
    }
  }
}

TEST_CASE("conv_f32: results are the same bits for every number of threads") {
  const int before = threads();
  for (const ConvShape& s : {shape_of(5, 16, 15, 16, 48, 3, 3, square_geometry(1, 1)),
                             shape_of(1, 33, 31, 8, 64, 3, 3, square_geometry(2, 1)),
                             shape_of(3, 20, 20, 32, 32, 3, 3, square_geometry(1, 1, 1, 32)),
                             shape_of(19, 6, 6, 32, 33, 3, 3, square_geometry(1, 1))}) {
    const auto x = random_floats(s.n * s.h * s.w * s.c, 1), w = random_floats(s.weights(), 2);
    const auto dy = random_floats(s.n * s.oh * s.ow * s.o, 4);
    set_threads(1);
    const Outputs one = run(conv_f32::kernels(), s, x, w, nullptr, dy);
    for (const int n : {2, 3, 7}) {
      set_threads(n);
      CAPTURE(n);
      const bool same = run(conv_f32::kernels(), s, x, w, nullptr, dy) == one;
      CHECK(same);
    }
  }
  set_threads(before);
}

TEST_CASE("conv_f32: an image gives the same bits in every batch") {
  const ConvShape s = shape_of(4, 9, 9, 16, 20, 3, 3, square_geometry(1, 1));
  const auto x = random_floats(s.n * s.h * s.w * s.c, 1), w = random_floats(s.weights(), 2);
  std::vector<float> all(static_cast<size_t>(s.n * s.oh * s.ow * s.o)), one(all.size() / 4);
  conv_f32::conv_forward(conv_f32::kernels(), s, x.data(), w.data(), nullptr, all.data());
  ConvShape single = s;
  single.n = 1;
  for (size_t i = 0; i < 4; ++i) {
    conv_f32::conv_forward(conv_f32::kernels(), single, x.data() + i * x.size() / 4, w.data(), nullptr, one.data());
    const bool same = std::equal(one.begin(), one.end(), all.begin() + static_cast<int64_t>(i * one.size()));
    CHECK(same);
  }
}

TEST_CASE("conv_f32: choose_conv names the way a convolution is computed") {
  using conv_f32::choose_conv;
  CHECK(choose_conv(shape_of(1, 8, 8, 4, 4, 3, 3, square_geometry(1, 1)), ConvPass::forward) == "direct padded");
  CHECK(choose_conv(shape_of(1, 8, 8, 4, 4, 3, 3, square_geometry(1, 0)), ConvPass::forward) == "direct");
  CHECK(choose_conv(shape_of(1, 8, 8, 4, 4, 3, 3, square_geometry(1, 0)), ConvPass::data) == "direct padded");
  CHECK(choose_conv(shape_of(1, 8, 8, 4, 4, 1, 1, square_geometry(2, 0)), ConvPass::weights) == "pointwise");
  CHECK(choose_conv(shape_of(1, 8, 8, 4, 4, 3, 3, square_geometry(1, 1, 1, 4)), ConvPass::data) == "depthwise");
}

}  // namespace
}  // namespace nibble
