#include "quant/kernels/int8_conv/int8_conv.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/kernels/int8_gemm/dispatch.h"
#include "tests/quant/kernels/int8_reference.h"
#include "third_party/doctest.h"

namespace nibble::int8 {
namespace {

using test::random_codes;
using test::reference_conv;

struct Threads {
  int before = threads();
  explicit Threads(int n) { set_threads(n); }
  ~Threads() { set_threads(before); }
};

/// A spec with random weights, biases and multipliers that spread the codes over their range.
struct Case {
  Int8ConvSpec spec;
  int64_t batch = 1, h = 1, w = 1;
  int style = 0;      ///< of codes and weights, as in random_codes
  int constant = -1;  ///< if not negative, every input code

  Case(int64_t in, int64_t out, int k, const ConvGeometry& g, int64_t n, int64_t height, int64_t width,
       uint32_t seed = 1)
      : batch(n), h(height), w(width) {
    spec.in_channels = in, spec.out_channels = out, spec.kh = spec.kw = k, spec.geometry = g;
    spec.w_zero = {128}, spec.x_zero = 3;
    fill(seed);
  }
  int64_t taps() const { return spec.in_channels / spec.geometry.groups * spec.kh * spec.kw; }
  void fill(uint32_t seed) {
    std::mt19937 random(seed + 17);
    spec.weights = random_codes(taps() * spec.out_channels, seed, 255, style);
    spec.bias.clear();
    Epilogue& e = spec.epilogue;
    e.multiplier.clear(), e.shift.clear(), e.scale.clear(), e.offset.clear();
    const double spread = 128.0 / (std::sqrt(double(taps())) * 75 * 75 * spec.w_unit);
    for (int64_t c = 0; c < spec.out_channels; ++c) {
      spec.bias.push_back(static_cast<int32_t>(random() % 20001) - 10000);
      const double scale = spread * (0.5 + (random() % 1000) / 1000.0);
      const QuantizedMultiplier m = quantize_multiplier(scale);
      e.multiplier.push_back(m.multiplier), e.shift.push_back(m.shift);
      e.scale.push_back(static_cast<float>(scale)), e.offset.push_back(static_cast<float>(random() % 64));
    }
    e.zero = 100;
  }
  std::vector<uint8_t> input(uint32_t seed = 5) const {
    const int64_t n = batch * h * w * spec.in_channels;
    if (constant >= 0) return std::vector<uint8_t>(static_cast<size_t>(n), static_cast<uint8_t>(constant));
    return random_codes(n, seed, 255, style);
  }
};

/// With weights so near to their zero points that sums of bytes fit 16 bits.
Case narrowed(Case c) {
  const int64_t taps = c.taps();
  for (size_t i = 0; i < c.spec.weights.size(); ++i) {
    const int zero = test::entry(c.spec.w_zero, static_cast<int64_t>(i) / taps) / c.spec.w_unit;
    c.spec.weights[i] = static_cast<uint8_t>(std::clamp(zero + (c.spec.weights[i] - 128) / 8, 0, 255));
  }
  return c;
}

template <class T>
std::vector<T> run(const Int8Conv& conv, const Case& c, const std::vector<uint8_t>& x, int parts = 1,
                   const float* add = nullptr) {
  const Int8Conv::Extent e = conv.output(c.h, c.w);
  std::vector<T> y(static_cast<size_t>(c.batch * e.h * e.w * conv.out_channels()), T(77));
  std::vector<std::byte> scratch(static_cast<size_t>(conv.scratch_bytes(c.h, c.w, c.batch) * parts), std::byte{0xAB});
  conv.run(x.data(), c.batch, c.h, c.w, y.data(), scratch, add);
  return y;
}

/// Every variant on one and two threads, codes by both rules, accumulators and reals, against the definition.
void check_all(Case c) {
  const std::vector<uint8_t> x = c.input();
  using Output = Epilogue::Output;
  for (const auto rule : {Epilogue::Rule::fixed, Epilogue::Rule::real}) {
    c.spec.epilogue.rule = rule, c.spec.epilogue.output = Output::codes;
    const test::Output want = reference_conv(c.spec, x, c.batch, c.h, c.w);
    for (const auto output : {Output::codes, Output::accumulators, Output::reals}) {
      if (rule == Epilogue::Rule::fixed && output != Output::codes) continue;
      c.spec.epilogue.output = output;
      for (const auto& v : gemm_variants()) {
        if (!cpu::has(v.needs)) continue;
        CAPTURE(v.name);
        const Int8Conv conv(c.spec, v.name);
        for (int n = 1; n <= 2; ++n) {
          CAPTURE(n);
          const Threads pin(n);
          if (output == Output::codes)
            CHECK((run<uint8_t>(conv, c, x, n) == want.codes));
          else if (output == Output::accumulators)
            CHECK((run<int32_t>(conv, c, x, n) == want.accumulators));
          else
            CHECK((run<float>(conv, c, x, n) == want.reals));
        }
      }
    }
  }
}

void check_all(const std::string& name, const Case& c) {
  CAPTURE(name);
  check_all(c);
}

void check_both(const std::string& name, const Case& c) {
  check_all(name, c);
  check_all(name + ", narrowed", narrowed(c));
}

TEST_CASE("int8 conv: every variant equals the definition over channels") {
  for (const int64_t in : {1, 2, 3, 4, 5, 7, 8, 16, 17, 33})
    for (const int64_t out : {1, 3, 8, 16, 17, 32, 33}) {
      CAPTURE(in);
      CAPTURE(out);
      check_both("", Case(in, out, 3, square_geometry(1, 1), 1, 4, 5));
    }
}

TEST_CASE("int8 conv: every variant equals the definition over sizes") {
  for (int64_t w = 1; w <= 30; ++w) {
    CAPTURE(w);
    check_both("1x1", Case(4, 20, 1, square_geometry(), 1, 1 + w % 4, w));
    check_both("3x3", Case(4, 16, 3, square_geometry(1, 1), 1 + w % 3, 1 + w % 5, w));
  }
}

TEST_CASE("int8 conv: reals are bounded") {
  for (const int64_t out : {1, 4, 16, 31, 40}) {
    CAPTURE(out);
    Case c(5, out, 3, square_geometry(1, 1), 1, 4, 7);
    c.spec.epilogue.rule = Epilogue::Rule::real, c.spec.epilogue.output = Epilogue::Output::reals;
    const std::vector<uint8_t> x = c.input();
    test::Output want = reference_conv(c.spec, x, c.batch, c.h, c.w);
    std::vector<float> sorted = want.reals;
    std::ranges::sort(sorted);
    const float least = sorted[sorted.size() / 3], most = sorted[sorted.size() * 2 / 3];
    for (float& r : want.reals) r = std::clamp(r, least, most);
    c.spec.epilogue.least = least, c.spec.epilogue.most = most;
    for (const auto& v : gemm_variants()) {
      if (!cpu::has(v.needs)) continue;
      CAPTURE(v.name);
      CHECK((run<float>(Int8Conv(c.spec, v.name), c, x) == want.reals));
    }
  }
}

TEST_CASE("int8 conv: another term is added to reals before they are bounded") {
  for (Case c : {Case(5, 31, 3, square_geometry(1, 1), 2, 4, 7), Case(64, 40, 3, square_geometry(1, 1), 1, 9, 11),
                 Case(32, 48, 1, square_geometry(), 3, 5, 5), Case(16, 16, 3, square_geometry(2, 1), 1, 9, 9)}) {
    CAPTURE(c.spec.out_channels);
    c.spec.epilogue.rule = Epilogue::Rule::real, c.spec.epilogue.output = Epilogue::Output::reals;
    c.spec.epilogue.least = 0;
    const std::vector<uint8_t> x = c.input();
    Case unbounded = c;
    unbounded.spec.epilogue.least = -std::numeric_limits<float>::infinity();
    std::vector<float> want = reference_conv(unbounded.spec, x, c.batch, c.h, c.w).reals, term(want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      term[i] = static_cast<float>(i % 29) * 7.3f - 100;
      want[i] = std::max(want[i] + term[i], 0.f);
    }
    for (const auto& v : gemm_variants()) {
      if (!cpu::has(v.needs)) continue;
      CAPTURE(v.name);
      CHECK((run<float>(Int8Conv(c.spec, v.name), c, x, 1, term.data()) == want));
      const Threads pin(2);
      CHECK((run<float>(Int8Conv(c.spec, v.name), c, x, 2, term.data()) == want));
    }
    c.spec.epilogue.output = Epilogue::Output::codes;
    CHECK_THROWS_AS(run<uint8_t>(Int8Conv(c.spec), c, x, 1, term.data()), Error);
  }
}

/// Channel o is input channel 0, halved o % 11 + 1 times: every other code of the first comes to a tie.
Case halvings(int64_t in, int64_t out, int k) {
  Case c(in, out, k, square_geometry(1, k / 2), 1, 16, 16);
  c.spec.x_zero = 128;
  Epilogue& e = c.spec.epilogue;
  for (int64_t o = 0; o < out; ++o) {
    const auto channel = static_cast<size_t>(o);
    c.spec.bias[channel] = static_cast<int32_t>(o / 11);
    e.multiplier[channel] = 1 << 30, e.shift[channel] = static_cast<int32_t>(-(o % 11));
    for (int64_t i = 0; i < c.taps(); ++i) c.spec.weights[static_cast<size_t>(o * c.taps() + i)] = 128;
    c.spec.weights[static_cast<size_t>(o * c.taps() + k * k / 2)] = 129;
  }
  return c;
}

TEST_CASE("int8 conv: ties of both roundings, with and without a shift") {
  constexpr int kZero = 100;
  for (const int least : {0, 1})  // with 0, a channel has no second rounding
    for (const int lo : {0, kZero - 1, kZero})
      for (const int64_t in : {1, 4, 16})
        for (const int64_t out : {16, 40}) {
          CAPTURE(least);
          CAPTURE(lo);
          CAPTURE(in);
          CAPTURE(out);
          Case c = halvings(in, out, 3);
          Epilogue& e = c.spec.epilogue;
          for (int32_t& shift : e.shift) shift -= least;
          e.zero = kZero, e.lo = lo;
          e.multiplier[3] = 0, e.shift[3] = 0;
          check_all("", c);
        }
}

TEST_CASE("int8 conv: sums and biases that only together fit 32 bits") {
  for (const int code : {0, 255}) {
    CAPTURE(code);
    Case c(131000, 2, 1, square_geometry(), 1, 1, 2);
    c.spec.x_zero = 128, c.constant = code;
    c.spec.bias = {0, 0};
    std::fill(c.spec.weights.begin(), c.spec.weights.begin() + 131000, uint8_t{255});
    std::fill(c.spec.weights.begin() + 131000, c.spec.weights.end(), uint8_t{0});
    const QuantizedMultiplier m = quantize_multiplier(90.0 / 2147483648.0);
    c.spec.epilogue.multiplier = {m.multiplier}, c.spec.epilogue.shift = {m.shift};
    c.spec.epilogue.scale = {90.0f / 2147483648.0f}, c.spec.epilogue.offset = {0};
    check_all("", c);
  }
}

TEST_CASE("int8 conv: geometries") {
  check_both("stride 2", Case(8, 16, 3, square_geometry(2, 1), 2, 9, 11));
  check_both("1x1 stride 2", Case(8, 16, 1, square_geometry(2), 2, 9, 11));
  check_both("no padding", Case(4, 24, 3, square_geometry(), 2, 9, 8));
  check_both("dilated", Case(4, 8, 3, square_geometry(1, 2, 2), 1, 9, 8));
  check_both("dilated, not padded", Case(4, 8, 3, square_geometry(1, 0, 3), 1, 9, 8));
  check_both("groups", Case(12, 9, 3, square_geometry(1, 1, 1, 3), 2, 5, 6));
  check_both("groups, not padded", Case(8, 40, 2, square_geometry(1, 0, 1, 2), 2, 5, 6));
  check_both("multiplier 2", Case(5, 10, 3, square_geometry(1, 1, 1, 5), 1, 5, 6));
  check_both("7x7", Case(3, 16, 7, square_geometry(2, 3), 1, 20, 18));
  check_both("large padding", Case(3, 16, 2, square_geometry(1, 5), 1, 1, 2));
  ConvGeometry g;
  g.stride_h = 2, g.stride_w = 3, g.pad = {.top = 2, .bottom = 0, .left = 0, .right = 3}, g.dilation_w = 2;
  check_both("uneven", Case(6, 19, 3, g, 2, 10, 13));
}

TEST_CASE("int8 conv: depthwise") {
  for (const int64_t channels : {2, 3, 8, 15, 16, 17, 32, 33, 70})
    for (const int k : {1, 2, 3, 5}) {
      CAPTURE(channels);
      CAPTURE(k);
      check_all(Case(channels, channels, k, square_geometry(1, k / 2, 1, static_cast<int>(channels)), 2, 5, 6));
      check_all(Case(channels, channels, k, square_geometry(2, k / 2, 1, static_cast<int>(channels)), 1, 7, 6));
    }
}

TEST_CASE("int8 conv: zero points of weights, per tensor and per channel, whole and half") {
  for (const int depthwise : {0, 1}) {
    Case c(8, depthwise ? 8 : 18, 3, square_geometry(1, 1, 1, depthwise ? 8 : 1), 2, 6, 7);
    CAPTURE(depthwise);
    for (const int zero : {0, 1, 127, 129, 255}) {
      c.spec.w_zero = {zero};
      check_all("per tensor", c);
    }
    c.spec.w_zero.clear();
    for (int64_t o = 0; o < c.spec.out_channels; ++o) c.spec.w_zero.push_back(static_cast<int32_t>(o * 13));
    check_all("per channel", c);
    c.spec.w_unit = 2;
    c.spec.w_zero = {255};
    c.fill(3);
    check_all("half", c);
    for (uint8_t& w : c.spec.weights) w &= 3;
    c.spec.w_zero = {3};
    check_all("half, two bits", c);
  }
}

TEST_CASE("int8 conv: a real offset of the weights adds the sum of the window") {
  for (const int groups : {1, 8}) {
    Case c(8, 16, 3, square_geometry(1, 1, 1, groups), 2, 6, 7);
    if (groups == 8) c = Case(8, 8, 3, square_geometry(1, 1, 1, 8), 2, 6, 7);
    for (int64_t o = 0; o < c.spec.out_channels; ++o)
      c.spec.epilogue.x_sum_scale.push_back(0.01f * static_cast<float>(o) - 0.03f);
    check_all("", c);
    c.spec.w_zero = {77};
    check_all("with a zero point", c);
  }
}

TEST_CASE("int8 conv: extreme codes and weights do not saturate inside") {
  for (const int x_zero : {0, 128, 255})
    for (const int depthwise : {0, 1}) {
      Case c(64, 64, 3, square_geometry(1, 1, 1, depthwise ? 64 : 1), 1, 4, 15);
      c.spec.x_zero = x_zero;
      CAPTURE(x_zero);
      c.style = 1;
      c.fill(9);
      check_all("random extremes", c);
      std::fill(c.spec.weights.begin(), c.spec.weights.end(), uint8_t{255});
      check_all("largest weights", c);
      std::fill(c.spec.weights.begin(), c.spec.weights.end(), uint8_t{0});
      check_all("smallest weights", c);
    }
}

TEST_CASE("int8 conv: sums of bytes in 16 bits neither saturate nor wrap") {
  Case c(20, 18, 3, square_geometry(1, 1), 1, 3, 7);
  std::mt19937 random(8);
  for (const int input : {-1, 0, 255}) {
    c.constant = input;
    CAPTURE(input);
    for (const int size : {1, 13, 64, 65, 127}) {
      CAPTURE(size);
      const auto fill = [&](const char* name, auto weight) {
        for (size_t i = 0; i < c.spec.weights.size(); ++i) c.spec.weights[i] = static_cast<uint8_t>(128 + weight(i));
        check_all(name, c);
      };
      fill("positive", [&](size_t) { return size; });
      fill("negative", [&](size_t) { return -size; });
      fill("taps in turn", [&](size_t i) { return i % 2 ? size : -size; });
      fill("channels in turn", [&](size_t i) { return i / 9 % 2 ? size : -size; });
      fill("any", [&](size_t) { return static_cast<int>(random() % static_cast<uint32_t>(2 * size + 1)) - size; });
      fill("one large output", [&](size_t i) { return i < 180 ? 127 : static_cast<int>(random() % 3) - 1; });
      fill("few large ones", [&](size_t) { return random() % 40 ? static_cast<int>(random() % 9) - 4 : size; });
    }
  }
  c = Case(20, 18, 1, square_geometry(), 1, 3, 7);
  c.spec.weights.assign(c.spec.weights.size(), 128);
  check_all("no weights at all", c);
}

TEST_CASE("int8 conv: bytes are summed in 16 bits where the weights allow it, and only there") {
  Case c(32, 32, 3, square_geometry(2, 1), 1, 4, 4);
  for (const auto& v : gemm_variants()) {
    if (!cpu::has(v.needs) || !v.fn().correlate_runs) continue;
    CAPTURE(v.name);
    const auto in_runs = [&](int weight) {
      c.spec.weights.assign(c.spec.weights.size(), static_cast<uint8_t>(128 + weight));
      return Int8Conv(c.spec, v.name).describe().find(" runs") != std::string::npos;
    };
    CHECK(in_runs(3));
    CHECK(in_runs(-64));
    CHECK_FALSE(in_runs(127));
    CHECK_FALSE(in_runs(-128));
  }
}

TEST_CASE("int8 conv: 3x3 by tiles of 2x2, over sizes, borders and channels") {
  for (const int64_t w : {1, 2, 3, 8, 13, 29}) {
    CAPTURE(w);
    check_all("sizes", Case(32, 19, 3, square_geometry(1, 1), 2, 1 + w % 4, w));
  }
  for (const int64_t out : {8, 9, 16, 33}) {
    CAPTURE(out);
    check_all("channels", Case(48, out, 3, square_geometry(1, 1), 1, 5, 6));
  }
  check_all("no padding", Case(32, 16, 3, square_geometry(), 1, 6, 7));
  check_all("large padding", Case(32, 16, 3, square_geometry(1, 4), 1, 1, 2));
  ConvGeometry g;
  g.pad = {.top = 0, .bottom = 3, .left = 2, .right = 0};
  check_all("uneven padding", Case(32, 16, 3, g, 3, 5, 4));
  check_all("several blocks of rows", Case(64, 8, 3, square_geometry(1, 1), 1, 45, 40));
  check_all("several images", Case(32, 8, 3, square_geometry(1, 1), 9, 14, 13));
}

TEST_CASE("int8 conv: 3x3 by tiles of 2x2, zero points, sums of windows and the largest sums") {
  Case c(32, 20, 3, square_geometry(1, 1), 2, 6, 7);
  for (const int zero : {0, 129, 255}) {
    c.spec.w_zero = {zero};
    check_all("per tensor", c);
  }
  c.spec.w_zero.clear();
  for (int64_t o = 0; o < 20; ++o) c.spec.w_zero.push_back(static_cast<int32_t>(o * 13));
  check_all("per channel", c);
  for (int64_t o = 0; o < 20; ++o) c.spec.epilogue.x_sum_scale.push_back(0.01f * static_cast<float>(o) - 0.03f);
  check_all("real offsets", c);
  // 1,824 channels are the most whose sums, four times, fit 32 bits; with 1,840 another kernel has to do it.
  for (const int64_t in : {1824, 1840}) {
    Case large(in, 8, 3, square_geometry(1, 1), 1, 4, 3);
    large.style = 1;
    large.fill(9);
    CAPTURE(in);
    check_all("random extremes", large);
    large.constant = 255;
    for (const int weight : {0, 255}) {
      std::fill(large.spec.weights.begin(), large.spec.weights.end(), static_cast<uint8_t>(weight));
      check_all("largest sums", large);
    }
  }
}

TEST_CASE("int8 conv: tiles of 2x2 are taken where they are exact") {
  for (const auto& v : gemm_variants()) {
    if (!cpu::has(v.needs) || !v.fn().winograd) continue;
    CAPTURE(v.name);
    const auto taken = [&](int64_t in, const ConvGeometry& g, int k = 3) {
      return Int8Conv(Case(in, 16, k, g, 1, 9, 9).spec, v.name).describe().find(" winograd") != std::string::npos;
    };
    CHECK(taken(64, square_geometry(1, 1)));
    CHECK(taken(1824, square_geometry(1, 0)));
    CHECK_FALSE(taken(1840, square_geometry(1, 1)));
    CHECK_FALSE(taken(40, square_geometry(1, 1)));
    CHECK_FALSE(taken(64, square_geometry(2, 1)));
    CHECK_FALSE(taken(64, square_geometry(1, 1, 2)));
    CHECK_FALSE(taken(64, square_geometry(1, 1, 1, 2)));
    CHECK_FALSE(taken(64, square_geometry(1, 1), 5));
  }
}

TEST_CASE("int8 conv: epilogues over the whole range of multipliers, shifts and bounds") {
  Case c(16, 48, 1, square_geometry(), 1, 3, 9);
  c.spec.bias.clear();
  Epilogue& e = c.spec.epilogue;
  e.multiplier.clear(), e.shift.clear(), e.scale.clear(), e.offset.clear();
  std::mt19937 random(4);
  for (int i = 0; i < 48; ++i) {
    c.spec.bias.push_back(static_cast<int32_t>(random()) / 2);
    e.shift.push_back(i < 32 ? -i : i - 32 + (i > 40 ? 15 : 0));
    e.multiplier.push_back(i % 7 == 0   ? 0
                           : i % 7 == 1 ? 2147483647
                           : i % 7 == 2 ? 1 << 30
                                        : static_cast<int32_t>(random() >> 2 | 1u << 30));
    e.scale.push_back(std::ldexp(1.f + static_cast<float>(random() % 100) / 100, -i));
    e.offset.push_back(i % 5 == 0 ? -1e30f : i % 5 == 1 ? 1e30f : static_cast<float>(random() % 1000) / 8 - 60);
  }
  check_all("wide", c);
  e.lo = 40, e.hi = 90, e.zero = 0;
  check_all("bounds", c);
  e.zero = 255, e.lo = 0, e.hi = 255;
  check_all("zero", c);
  e.shift = {-3}, e.multiplier = {1 << 30}, e.scale = {0.5f}, e.offset = {};  // many ties
  for (int32_t& b : c.spec.bias) b = static_cast<int32_t>(random() % 2000) - 1000;
  e.zero = 128;
  check_all("ties", c);
}

TEST_CASE("int8 conv: parts write every output once, whatever their number") {
  for (const auto& v : gemm_variants()) {
    if (!cpu::has(v.needs)) continue;
    for (const Case& c :
         {Case(16, 33, 3, square_geometry(1, 1), 3, 9, 9), narrowed(Case(16, 33, 3, square_geometry(1, 1), 3, 9, 9)),
          Case(16, 80, 1, square_geometry(), 3, 5, 5), Case(16, 16, 3, square_geometry(1, 1, 1, 16), 3, 9, 9),
          Case(64, 70, 1, square_geometry(), 1, 1, 1)}) {
      const Int8Conv conv(c.spec, v.name);
      const std::vector<uint8_t> x = c.input();
      const test::Output want = reference_conv(c.spec, x, c.batch, c.h, c.w);
      for (const int parts : {1, 2, 3, 5, 16}) {
        CAPTURE(parts);
        std::vector<uint8_t> y(want.codes.size(), 77);
        std::vector<std::byte> scratch(static_cast<size_t>(conv.scratch_bytes(c.h, c.w, c.batch)));
        for (int part = 0; part < parts; ++part) {
          std::vector<uint8_t> one(y.size(), 1), other(y.size(), 2);
          conv.run_part(x.data(), c.batch, c.h, c.w, one.data(), part, parts, scratch.data());
          conv.run_part(x.data(), c.batch, c.h, c.w, other.data(), part, parts, scratch.data());
          for (size_t i = 0; i < y.size(); ++i)
            if (one[i] == other[i]) y[i] = one[i];
        }
        CHECK((y == want.codes));
      }
    }
  }
}

TEST_CASE("int8 conv: images larger than a block, and many small ones") {
  Case large(64, 20, 3, square_geometry(1, 1), 1, 70, 60), many(4, 8, 3, square_geometry(1, 1), 60, 9, 9);
  check_all("large", large);
  check_all("many", many);
  large.spec.w_zero = {90};
  check_all("large, with sums", large);
  many.spec.w_zero = {90};
  check_all("many, with sums", many);
  Case product(32, 8, 1, square_geometry(), 3, 50, 60);
  product.spec.w_zero = {90};
  check_all("product with sums", product);
}

/// Memory that ends at, or starts behind, a page that must not be touched.
class Guarded {
 public:
  Guarded(size_t bytes, bool at_end) : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    size_ = (bytes + page_ - 1) / page_ * page_ + 2 * page_;
    base_ = static_cast<std::byte*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(base_ != MAP_FAILED);
    REQUIRE(mprotect(base_, page_, PROT_NONE) == 0);
    REQUIRE(mprotect(base_ + size_ - page_, page_, PROT_NONE) == 0);
    data_ = at_end ? base_ + size_ - page_ - bytes : base_ + page_;
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(base_, size_); }
  std::byte* data() const { return data_; }

 private:
  size_t page_, size_ = 0;
  std::byte *base_ = nullptr, *data_ = nullptr;
};

TEST_CASE("int8 conv: no byte beyond inputs, outputs and scratch is touched") {
  std::vector<Case> cases;
  for (const int64_t in : {1, 3, 4, 16, 33})
    for (const int64_t out : {1, 10, 16, 40}) {
      cases.emplace_back(in, out, 3, square_geometry(1, 1), 2, 6, 9);
      cases.emplace_back(in, out, 1, square_geometry(), 2, 5, 7);
      cases.emplace_back(in, out, 2, square_geometry(2), 2, 6, 8);
    }
  for (const int channels : {3, 16, 40})
    cases.emplace_back(channels, channels, 3, square_geometry(1, 1, 1, channels), 2, 6, 9);
  for (size_t i = 0, n = cases.size(); i < n; ++i) cases.push_back(narrowed(cases[i]));
  for (Case& c : cases)
    for (const int zero : {128, 60})
      for (const bool at_end : {true, false})
        for (const auto& v : gemm_variants()) {
          if (!cpu::has(v.needs)) continue;
          CAPTURE(v.name);
          c.spec.w_zero = {zero};
          const Int8Conv conv(c.spec, v.name);
          const std::vector<uint8_t> x = c.input();
          const test::Output want = reference_conv(c.spec, x, c.batch, c.h, c.w);
          // A scratch is aligned: its size is a multiple of 64.
          const Guarded from(x.size(), at_end), to(want.codes.size(), at_end);
          const auto bytes = static_cast<size_t>(conv.scratch_bytes(c.h, c.w, c.batch));
          const Guarded scratch(bytes, at_end);
          std::memcpy(from.data(), x.data(), x.size());
          conv.run(reinterpret_cast<const uint8_t*>(from.data()), c.batch, c.h, c.w, to.data(),
                   {scratch.data(), bytes});
          CHECK(std::memcmp(to.data(), want.codes.data(), want.codes.size()) == 0);
        }
}

TEST_CASE("int8 conv: what does not fit together is one clear error") {
  const Case good(8, 16, 3, square_geometry(1, 1), 1, 4, 4);
  const auto refuses = [&](auto change) {
    Int8ConvSpec s = good.spec;
    change(s);
    CHECK_THROWS_AS(Int8Conv{s}, Error);
  };
  CHECK_NOTHROW(Int8Conv{good.spec});
  refuses([](Int8ConvSpec& s) { s.in_channels = 0; });
  refuses([](Int8ConvSpec& s) { s.in_channels = int64_t{1} << 40; });
  refuses([](Int8ConvSpec& s) { s.weights.pop_back(); });
  refuses([](Int8ConvSpec& s) { s.geometry.groups = 3; });
  refuses([](Int8ConvSpec& s) { s.geometry.groups = 0; });
  refuses([](Int8ConvSpec& s) { s.geometry.stride_w = 0; });
  refuses([](Int8ConvSpec& s) { s.geometry.pad.left = -1; });
  refuses([](Int8ConvSpec& s) { s.w_zero = {}; });
  refuses([](Int8ConvSpec& s) { s.w_zero = {256}; });
  refuses([](Int8ConvSpec& s) { s.w_zero = {1, 2}; });
  refuses([](Int8ConvSpec& s) { s.w_unit = 3; });
  refuses([](Int8ConvSpec& s) { s.x_zero = 256; });
  refuses([](Int8ConvSpec& s) { s.bias = {1, 2, 3}; });
  refuses([](Int8ConvSpec& s) { s.bias = {2147483647}; });
  refuses([](Int8ConvSpec& s) { s.epilogue.multiplier = {5}; });
  refuses([](Int8ConvSpec& s) { s.epilogue.multiplier = {-(1 << 30)}; });
  refuses([](Int8ConvSpec& s) { s.epilogue.shift = {32}; });
  refuses([](Int8ConvSpec& s) { s.epilogue.shift = {-32}; });
  refuses([](Int8ConvSpec& s) { s.epilogue.shift = {}; });
  refuses([](Int8ConvSpec& s) { s.epilogue.lo = 9, s.epilogue.hi = 8; });
  refuses([](Int8ConvSpec& s) { s.epilogue.zero = -1; });
  refuses([](Int8ConvSpec& s) { s.epilogue.rule = Epilogue::Rule::real, s.epilogue.scale = {std::nanf("")}; });
  refuses([](Int8ConvSpec& s) { s.epilogue.rule = Epilogue::Rule::real, s.epilogue.scale = {1e38f}; });
  CHECK_THROWS_AS(Int8Conv(good.spec, "avx1024"), Error);
  const Int8Conv conv(good.spec);
  CHECK_THROWS_AS(Int8Conv(Case(8, 8, 5, square_geometry(), 1, 9, 9).spec).output(4, 9), Error);
  std::vector<uint8_t> x(8 * 16), y(16 * 16);
  CHECK_THROWS_AS(conv.run(x.data(), 1, 4, 4, y.data(), {}), Error);
}

}  // namespace
}  // namespace nibble::int8
