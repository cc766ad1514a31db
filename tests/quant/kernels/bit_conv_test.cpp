#include "quant/kernels/bit_conv/bit_conv.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <limits>
#include <string>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/kernels/bit_conv/definition.h"
#include "quant/kernels/bit_gemm/dispatch.h"
#include "tests/quant/kernels/bit_reference.h"
#include "third_party/doctest.h"

namespace nibble::bits {
namespace {

using Output = Epilogue::Output;
using Rule = BitConvSpec::Rule;

struct Threads {
  int before = threads();
  explicit Threads(int n) { set_threads(n); }
  ~Threads() { set_threads(before); }
};

enum class Pattern { random, zeros, ones };

std::vector<uint8_t> codes(int64_t n, int bits, Pattern pattern, uint32_t seed) {
  std::mt19937 random(seed);
  const unsigned most = (1u << bits) - 1;
  std::vector<uint8_t> list;
  for (int64_t i = 0; i < n; ++i)
    list.push_back(static_cast<uint8_t>(pattern == Pattern::random ? random() & most
                                        : pattern == Pattern::ones ? most
                                                                   : 0));
  return list;
}

/// A spec whose outputs spread over its levels.
struct Case {
  BitConvSpec spec;
  int64_t batch = 1, h = 1, w = 1;
  Pattern x_pattern = Pattern::random;

  Case(int64_t in, int64_t out, int k, const ConvGeometry& g, int64_t n, int64_t height, int64_t width, int w_bits = 1,
       int a_bits = 1)
      : batch(n), h(height), w(width) {
    spec.in_channels = in, spec.out_channels = out, spec.kh = spec.kw = k, spec.geometry = g;
    spec.w_bits = w_bits, spec.a_bits = a_bits;
    fill();
    uniform();
  }
  int64_t taps() const { return spec.in_channels / spec.geometry.groups * spec.kh * spec.kw; }
  void fill(Pattern pattern = Pattern::random) {
    spec.weights = codes(taps() * spec.out_channels, spec.w_bits, pattern, 3);
  }
  /// Weights -(2^W - 1) .. 2^W - 1 by twos, activations 0 .. 2^A - 1.
  void uniform() {
    spec.rule = Rule::integer;
    spec.w_offset = {1.0 - (1 << spec.w_bits)};
    spec.w_basis.clear(), spec.a_basis.clear();
    for (int k = 0; k < spec.w_bits; ++k) spec.w_basis.push_back({double(2 << k)});
    for (int j = 0; j < spec.a_bits; ++j) spec.a_basis.push_back(1 << j);
    spec.a_offset = 0;
    levels(1 << spec.a_bits);
  }
  /// Activations -1 and +1 where they were 0 and 1.
  void signs() { spec.a_offset = -1, spec.a_basis = {2}; }
  /// Bases at random, of either sign, one per output channel.
  void learned(bool with_offsets = true, uint32_t seed = 11) {
    std::mt19937 random(seed);
    const auto any = [&] { return (int(random() % 2001) - 1000) / 700.0; };
    spec.rule = Rule::learned;
    for (auto& list : spec.w_basis) {
      list.clear();
      for (int64_t o = 0; o < spec.out_channels; ++o) list.push_back(any());
    }
    for (double& v : spec.a_basis) v = any();
    spec.w_offset.assign(with_offsets ? static_cast<size_t>(spec.out_channels) : 1, 0);
    if (with_offsets)
      for (double& v : spec.w_offset) v = any();
    spec.a_offset = with_offsets ? any() : 0;
  }
  /// Some scales are negative; thresholds repeat a value.
  void levels(int n, uint32_t seed = 5) {
    std::mt19937 random(seed);
    Epilogue& e = spec.epilogue;
    e = {};
    double spread = std::sqrt(double(taps())) * spec.a_bits;
    for (int64_t o = 0; o < spec.out_channels; ++o) {
      e.scale.push_back(static_cast<float>((int(random() % 2001) - 900) / 1000.0 * 4 / spread));
      e.offset.push_back(static_cast<float>(int(random() % 2001) - 1000) / 500);
    }
    for (int l = 0; l + 1 < std::min(n, 16); ++l) e.thresholds.push_back(static_cast<float>(l / 2 * 2 + l) / 4 - 2);
    for (size_t l = 0; l <= e.thresholds.size(); ++l) e.codes.push_back(static_cast<uint8_t>(l * 37));
    e.zero = 100, e.lo = 3, e.hi = 250;
  }
  std::vector<uint8_t> input() const { return codes(batch * h * w * spec.in_channels, spec.a_bits, x_pattern, 7); }
};

template <class T>
std::vector<T> run(const BitConv& conv, const Case& c, const std::vector<uint8_t>& x, int parts = 1) {
  const BitConv::Extent e = conv.output(c.h, c.w);
  std::vector<T> y(static_cast<size_t>(c.batch * e.h * e.w * conv.out_channels()), T(77));
  std::vector<std::byte> scratch(static_cast<size_t>(conv.scratch_bytes(c.h, c.w, c.batch) * parts), std::byte{0xAB});
  conv.run(x.data(), c.batch, c.h, c.w, y.data(), scratch);
  return y;
}

/// Calls body(row's name, path) for every way to compute that this processor has.
template <class Body>
void each_way(const BitConvSpec& spec, const Body& body) {
  for (const auto& v : gemm_variants()) {
    if (!cpu::has(v.needs)) continue;
    const std::string name = v.name;
    CAPTURE(name);
    for (const Path path : {Path::planes, Path::tables, Path::bytes}) {
      if (!BitConv::computes(path, spec, v.name)) continue;
      CAPTURE(static_cast<int>(path));
      body(v.name, path);
    }
  }
}

void check(const BitConv& conv, const Case& c, const std::vector<uint8_t>& x, const test::Output& want, int n) {
  CAPTURE(n);
  const Threads pin(n);
  if (c.spec.epilogue.output == Output::accumulators)
    CHECK((run<int32_t>(conv, c, x, n) == want.accumulators));
  else if (c.spec.epilogue.output == Output::reals)
    CHECK((run<float>(conv, c, x, n) == want.reals));
  else
    CHECK((run<uint8_t>(conv, c, x, n) == want.codes));
}

/// Every variant and path on one and two threads, all outputs, against the definition.
void check_all(Case c) {
  const std::vector<uint8_t> x = c.input();
  for (const auto output : {Output::levels, Output::uniform, Output::accumulators, Output::reals}) {
    if (output == Output::accumulators && c.spec.rule == Rule::learned) continue;
    c.spec.epilogue.output = output;
    CAPTURE(static_cast<int>(output));
    const test::Output want = test::reference_conv(c.spec, x, c.batch, c.h, c.w);
    each_way(c.spec, [&](const char* isa, Path path) {
      const BitConv conv(c.spec, isa, path);
      for (int n = 1; n <= 2; ++n) check(conv, c, x, want, n);
    });
  }
}

/// The levels only: for large cases.
void check_levels(Case c) {
  c.spec.epilogue.output = Output::levels;
  const std::vector<uint8_t> x = c.input();
  const test::Output want = test::reference_conv(c.spec, x, c.batch, c.h, c.w);
  each_way(c.spec, [&](const char* isa, Path path) { check(BitConv(c.spec, isa, path), c, x, want, 1); });
}

void check_all(const std::string& name, const Case& c) {
  CAPTURE(name);
  check_all(c);
}

TEST_CASE("bit conv: every variant equals the definition over channels") {
  for (int64_t in = 1; in <= 70; in += in < 10 ? 1 : 7) check_all("in", Case(in, 5, 3, square_geometry(1, 1), 1, 3, 4));
  for (int64_t out = 1; out <= 70; out += out < 10 ? 2 : 5)
    check_all("out", Case(9, out, 3, square_geometry(1, 1), 1, 3, 4, 2, 2));
  for (const int64_t n : {127, 128, 129, 130}) {
    CAPTURE(n);
    check_levels(Case(n, 3, 3, square_geometry(1, 1), 1, 3, 3));
    check_levels(Case(5, n, 2, square_geometry(), 1, 3, 3, 2, 1));
    check_levels(Case(n, n, 1, square_geometry(), 1, 2, 3));
  }
  check_levels(Case(4, 300, 1, square_geometry(), 1, 2, 4));
}

TEST_CASE("bit conv: every variant equals the definition over bits and rules") {
  for (int w_bits = 1; w_bits <= 4; ++w_bits)
    for (const int a_bits : {1, 2, 3, 4, 5, 8}) {
      CAPTURE(w_bits);
      CAPTURE(a_bits);
      Case c(13, 19, 3, square_geometry(1, 1), 1, 3, 5, w_bits, a_bits);
      check_all("uniform", c);
      c.learned();
      check_all("learned", c);
      c.learned(false);
      check_all("learned, no offsets", c);
    }
}

TEST_CASE("bit conv: every variant equals the definition over sizes") {
  for (int64_t w = 1; w <= 20; ++w) {
    CAPTURE(w);
    check_all(Case(4, 17, 1, square_geometry(), 1, 1 + w % 4, w));
    check_all(Case(4, 9, 3, square_geometry(1, 1), 1 + w % 3, 1 + w % 5, w, 1, 2));
  }
}

TEST_CASE("bit conv: geometries") {
  check_all("stride 2", Case(8, 16, 3, square_geometry(2, 1), 2, 9, 11, 1, 2));
  check_all("1x1 stride 2", Case(8, 16, 1, square_geometry(2), 2, 9, 11));
  check_all("no padding", Case(12, 24, 3, square_geometry(), 2, 9, 8, 2, 2));
  check_all("dilated", Case(11, 8, 3, square_geometry(1, 2, 2), 1, 9, 8));
  check_all("dilated, not padded", Case(4, 8, 3, square_geometry(1, 0, 3), 1, 9, 8, 2, 1));
  check_all("groups", Case(12, 9, 3, square_geometry(1, 1, 1, 3), 2, 5, 6));
  check_all("depthwise", Case(10, 10, 3, square_geometry(1, 1, 1, 10), 2, 5, 6, 2, 2));
  check_all("depthwise, multiplier 2", Case(5, 10, 3, square_geometry(1, 1, 1, 5), 1, 5, 6));
  check_all("7x7", Case(3, 16, 7, square_geometry(2, 3), 1, 10, 9));
  check_all("11x11", Case(5, 6, 11, square_geometry(1, 5), 1, 6, 7, 1, 2));
  check_all("large padding", Case(3, 16, 2, square_geometry(1, 5), 1, 1, 2));
  ConvGeometry g;
  g.stride_h = 2, g.stride_w = 3, g.pad = {.top = 2, .bottom = 0, .left = 0, .right = 3}, g.dilation_w = 2;
  check_all("uneven", Case(6, 19, 3, g, 2, 10, 13, 2, 2));
  Case uneven(6, 19, 3, g, 2, 10, 13, 1, 1);
  uneven.spec.kh = 5, uneven.spec.kw = 2;
  uneven.fill();
  check_all("uneven kernel", uneven);
}

TEST_CASE("bit conv: something may be added to reals, and bounds them afterwards") {
  for (const bool learned : {false, true})
    for (const int64_t out : {1, 15, 16, 33, 70})
      for (const int k : {1, 3}) {
        CAPTURE(learned);
        CAPTURE(out);
        CAPTURE(k);
        Case c(9, out, k, square_geometry(1, k / 2), 2, 3, 5, 2, 2);
        if (learned) c.learned();
        c.spec.epilogue.output = Output::reals;
        c.spec.epilogue.least = -1.5f, c.spec.epilogue.most = 2;
        const std::vector<uint8_t> x = c.input();
        test::Output want = test::reference_conv(c.spec, x, c.batch, c.h, c.w);
        std::vector<float> more;
        for (size_t i = 0; i < want.reals.size(); ++i) {
          more.push_back(static_cast<float>(i % 23) / 7 - 1);
          want.reals[i] = std::clamp(want.reals[i] + more[i], -1.5f, 2.f);
        }
        std::vector<float> y(want.reals.size());
        evaluate(c.spec, x.data(), c.batch, c.h, c.w, y.data(), more.data());
        CHECK((y == want.reals));
        each_way(c.spec, [&](const char* isa, Path path) {
          const BitConv conv(c.spec, isa, path);
          std::vector<std::byte> scratch(static_cast<size_t>(conv.scratch_bytes(c.h, c.w, c.batch)));
          std::ranges::fill(y, 77.f);
          conv.run(x.data(), c.batch, c.h, c.w, y.data(), scratch, more.data());
          CHECK((y == want.reals));
        });
      }
  Case codes(4, 4, 1, square_geometry(), 1, 1, 1);
  const BitConv conv(codes.spec);
  std::vector<std::byte> scratch(static_cast<size_t>(conv.scratch_bytes(1, 1, 1)));
  const std::vector<uint8_t> x = codes.input();
  uint8_t y[4];
  const float more[4] = {};
  CHECK_THROWS_AS(conv.run(x.data(), 1, 1, 1, y, scratch, more), Error);
  codes.spec.epilogue.least = 1, codes.spec.epilogue.most = 0;
  CHECK_THROWS_AS(BitConv{codes.spec}, Error);
}

TEST_CASE("bit conv: taps outside the image count 0 for activations of -1 and +1") {
  for (const int k : {1, 2, 3, 5})
    for (const int stride : {1, 2}) {
      CAPTURE(k);
      CAPTURE(stride);
      Case c(7, 18, k, square_geometry(stride, k / 2), 2, 5, 6);
      c.signs();
      check_all("signs", c);
      c.spec.w_offset = {0}, c.spec.w_basis = {{1}};
      check_all("signs, weights 0 and 1", c);
    }
  Case dilated(7, 18, 3, square_geometry(2, 3, 2), 1, 6, 5);
  dilated.signs();
  check_all("dilated", dilated);
  Case outside(3, 4, 2, square_geometry(1, 4), 1, 2, 1);
  outside.signs();
  check_all("windows wholly outside", outside);
  Case groups(6, 8, 3, square_geometry(1, 1, 1, 2), 1, 3, 4, 2, 2);
  groups.spec.a_offset = 3;
  check_all("groups, an offset of 3", groups);
}

TEST_CASE("bit conv: a window of ones counts its taps inside the image") {
  BitConvSpec s;
  s.in_channels = 2, s.out_channels = 1, s.kh = s.kw = 3, s.geometry = square_geometry(1, 1);
  s.weights.assign(18, 1), s.w_offset = {-1}, s.w_basis = {{2}}, s.a_offset = -1, s.a_basis = {2};
  s.epilogue.output = Output::accumulators;
  const BitConv conv(s);
  std::vector<int32_t> y(9);
  std::vector<std::byte> scratch(static_cast<size_t>(conv.scratch_bytes(3, 3, 1)));
  conv.run(std::vector<uint8_t>(18, 1).data(), 1, 3, 3, y.data(), scratch);
  CHECK(y == std::vector<int32_t>{8, 12, 8, 12, 18, 12, 8, 12, 8});
  conv.run(std::vector<uint8_t>(18, 0).data(), 1, 3, 3, y.data(), scratch);
  CHECK(y == std::vector<int32_t>{-8, -12, -8, -12, -18, -12, -8, -12, -8});
}

TEST_CASE("bit conv: ternary weights are a plus and a minus plane") {
  Case c(21, 20, 3, square_geometry(1, 1), 1, 4, 5, 2, 2);
  for (uint8_t& w : c.spec.weights) w = static_cast<uint8_t>(w % 3);
  c.spec.w_offset = {0}, c.spec.w_basis = {{1}, {-1}};
  check_all("1, -1", c);
  c.spec.w_basis = {{3}, {-5}}, c.spec.a_basis = {2, 5};
  check_all("any integers", c);
}

TEST_CASE("bit conv: all codes zero and all ones, over many channels") {
  for (const Pattern w : {Pattern::zeros, Pattern::ones, Pattern::random})
    for (const Pattern x : {Pattern::zeros, Pattern::ones, Pattern::random}) {
      Case c(96, 21, 3, square_geometry(1, 1), 1, 2, 3, 2, 4);
      c.x_pattern = x, c.fill(w);
      check_all("integer", c);
      c.learned();
      check_all("learned", c);
    }
}

TEST_CASE("bit conv: the longest windows of the zoo, full and at random") {
  for (const Pattern pattern : {Pattern::ones, Pattern::random})
    for (const int bits : {1, 2, 4}) {
      CAPTURE(bits);
      Case c(512, 6, 3, square_geometry(1, 1), 1, 1, 2, bits, bits);
      c.x_pattern = pattern, c.fill(pattern);
      check_levels(c);
      c.learned();
      check_levels(c);
      Case linear(4096, 5, 1, square_geometry(), 3, 1, 1, bits, bits);
      linear.x_pattern = pattern, linear.fill(pattern);
      check_levels(linear);
      Case longest(25088, 3, 1, square_geometry(), 1, 1, 1, bits, bits);
      longest.x_pattern = pattern, longest.fill(pattern);
      check_levels(longest);
    }
}

TEST_CASE("bit conv: thresholds at ties go the way that strict says, for scales of either sign and zero") {
  for (const bool strict : {true, false})
    for (const float scale : {1.f, -1.f, 0.25f, -3.f, 0.f, -0.f, 1e-30f, 1e6f}) {
      CAPTURE(strict);
      CAPTURE(scale);
      Case c(9, 3, 1, square_geometry(), 1, 2, 9, 1, 2);
      Epilogue& e = c.spec.epilogue;
      e = {};
      e.scale = {scale}, e.strict = strict;
      for (int t = -5; t <= 5; ++t) e.thresholds.push_back(static_cast<float>(t) * scale);
      std::sort(e.thresholds.begin(), e.thresholds.end());
      for (int l = 0; l <= 11; ++l) e.codes.push_back(static_cast<uint8_t>(l));
      check_levels(c);
      c.learned();
      for (auto& list : c.spec.w_basis) list = {1};
      c.spec.a_basis = {1, 2}, c.spec.w_offset = {-1}, c.spec.a_offset = 0;
      check_levels(c);
    }
}

TEST_CASE("bit conv: cuts that every sum or no sum reaches, and any number of them") {
  for (int n = 1; n <= 16; ++n) {
    CAPTURE(n);
    Case c(30, 22, 3, square_geometry(1, 1), 1, 3, 4);
    c.levels(n);
    check_levels(c);
    for (float& t : c.spec.epilogue.thresholds) t -= 1e6f;
    check_levels(c);
    for (float& t : c.spec.epilogue.thresholds) t += 2e6f;
    check_levels(c);
  }
}

TEST_CASE("bit conv: sums beyond 16 bits") {
  Case c(200, 5, 3, square_geometry(1, 1), 1, 2, 3, 4, 4);
  c.x_pattern = Pattern::ones;
  check_all("uniform", c);
  c.signs();
  c.spec.a_basis = {500, 1000, 2000, 4000};
  check_all("large bases", c);
}

TEST_CASE("bit conv: bits of codes above a_bits are not read") {
  Case c(17, 10, 3, square_geometry(1, 1), 1, 4, 4, 1, 2);
  const std::vector<uint8_t> clean = c.input();
  std::vector<uint8_t> x = clean;
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint8_t>(x[i] | i * 4);
  each_way(c.spec, [&](const char* isa, Path path) {
    const BitConv conv(c.spec, isa, path);
    CHECK((run<uint8_t>(conv, c, x) == run<uint8_t>(conv, c, clean)));
  });
}

TEST_CASE("bit conv: the definition is what the plain loops give") {
  for (const bool learned : {false, true}) {
    Case c(6, 7, 3, square_geometry(2, 1), 2, 5, 4, 2, 3);
    c.spec.a_offset = -2;
    if (learned) c.learned();
    const std::vector<uint8_t> x = c.input();
    const test::Output want = test::reference_conv(c.spec, x, c.batch, c.h, c.w);
    std::vector<uint8_t> y(want.codes.size());
    evaluate(c.spec, x.data(), c.batch, c.h, c.w, y.data());
    CHECK((y == want.codes));
    c.spec.epilogue.output = Output::reals;
    std::vector<float> r(want.reals.size());
    evaluate(c.spec, x.data(), c.batch, c.h, c.w, r.data());
    CHECK((r == want.reals));
  }
}

TEST_CASE("bit conv: the path is chosen by the plan, and may be asked for") {
  const Case wide(64, 64, 3, square_geometry(1, 1), 1, 4, 4, 1, 2), narrow(3, 4, 1, square_geometry(), 1, 4, 4);
  for (const auto& v : gemm_variants()) {
    if (!cpu::has(v.needs)) continue;
    const std::string name = v.name;
    CHECK(BitConv(wide.spec, v.name).describe() == (name == "amx" ? "bytes 1x2, " : "tables 1x2, ") + name);
    CHECK(BitConv(narrow.spec, v.name).describe() == "planes 1x1, " + name);
    CHECK(BitConv(wide.spec, v.name, Path::planes).describe() == "planes 1x2, " + name);
  }
  // A bit for every weight, cuts and borders aside.
  const Case large(512, 512, 3, square_geometry(1, 1), 1, 1, 1);
  CHECK(BitConv(large.spec, {}, Path::planes).packed_bytes() < 512 * 512 * 9 / 8 * 1.05);
}

TEST_CASE("bit conv: parts write every output once, whatever their number") {
  for (Case c :
       {Case(16, 33, 3, square_geometry(1, 1), 3, 9, 9, 1, 2), Case(16, 80, 1, square_geometry(), 3, 5, 5),
        Case(16, 16, 3, square_geometry(1, 1, 1, 16), 3, 9, 9), Case(64, 140, 1, square_geometry(), 1, 1, 1)}) {
    const std::vector<uint8_t> x = c.input();
    const test::Output want = test::reference_conv(c.spec, x, c.batch, c.h, c.w);
    each_way(c.spec, [&](const char* isa, Path path) {
      const BitConv conv(c.spec, isa, path);
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
    });
  }
}

TEST_CASE("bit conv: images larger than a block, and many small ones") {
  check_levels(Case(40, 3, 3, square_geometry(1, 1), 1, 70, 60, 1, 2));
  check_levels(Case(4, 3, 3, square_geometry(2, 1), 1, 260, 200, 1, 8));
  check_levels(Case(4, 5, 3, square_geometry(1, 1), 70, 5, 5, 2, 2));
  check_levels(Case(4, 5, 1, square_geometry(), 3, 50, 60, 1, 1));
  Case many(3, 5, 1, square_geometry(), 5000, 1, 1);
  many.signs();
  check_levels(many);
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

TEST_CASE("bit conv: no byte beyond inputs, outputs and scratch is touched") {
  std::vector<Case> cases;
  for (const int64_t in : {1, 8, 33, 64})
    for (const int64_t out : {1, 16, 70}) {
      cases.emplace_back(in, out, 3, square_geometry(1, 1), 2, 4, 7, 1, 2);
      cases.emplace_back(in, out, 1, square_geometry(), 2, 5, 7);
      cases.emplace_back(in, out, 2, square_geometry(2), 2, 6, 8, 2, 1);
    }
  for (Case& c : cases) {
    const std::vector<uint8_t> x = c.input();
    const test::Output want = test::reference_conv(c.spec, x, c.batch, c.h, c.w);
    each_way(c.spec, [&](const char* isa, Path path) {
      const BitConv conv(c.spec, isa, path);
      for (const bool at_end : {true, false}) {
        // A scratch is aligned: its size is a multiple of 64.
        const auto bytes = static_cast<size_t>(conv.scratch_bytes(c.h, c.w, c.batch));
        const Guarded from(x.size(), at_end), to(want.codes.size(), at_end), scratch(bytes, at_end);
        std::memcpy(from.data(), x.data(), x.size());
        conv.run(reinterpret_cast<const uint8_t*>(from.data()), c.batch, c.h, c.w, to.data(), {scratch.data(), bytes});
        CHECK(std::memcmp(to.data(), want.codes.data(), want.codes.size()) == 0);
      }
    });
  }
}

TEST_CASE("bit conv: what does not fit together is one clear error") {
  const Case good(8, 16, 3, square_geometry(1, 1), 1, 4, 4, 2, 2);
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const auto refuses = [&](auto change) {
    BitConvSpec s = good.spec;
    change(s);
    CHECK_THROWS_AS(BitConv{s}, Error);
    std::vector<uint8_t> x(8 * 16), y(16 * 16 * 4);
    CHECK_THROWS_AS(evaluate(s, x.data(), 1, 4, 4, y.data()), Error);
  };
  CHECK_NOTHROW(BitConv{good.spec});
  refuses([](BitConvSpec& s) { s.in_channels = 0; });
  refuses([](BitConvSpec& s) { s.in_channels = int64_t{1} << 40; });
  refuses([](BitConvSpec& s) { s.weights.pop_back(); });
  refuses([](BitConvSpec& s) { s.weights[3] = 4; });
  refuses([](BitConvSpec& s) { s.geometry.groups = 3; });
  refuses([](BitConvSpec& s) { s.geometry.stride_w = 0; });
  refuses([](BitConvSpec& s) { s.geometry.pad.left = -1; });
  refuses([](BitConvSpec& s) { s.w_bits = 5; });
  refuses([](BitConvSpec& s) { s.a_bits = 9; });
  refuses([](BitConvSpec& s) { s.a_basis.pop_back(); });
  refuses([](BitConvSpec& s) { s.w_basis.pop_back(); });
  refuses([](BitConvSpec& s) { s.w_basis[1] = {}; });
  refuses([](BitConvSpec& s) { s.w_basis[1] = {0.5}; });
  refuses([](BitConvSpec& s) { s.w_basis[1] = {1, 2}; });
  refuses([](BitConvSpec& s) { s.w_offset = {}; });
  refuses([](BitConvSpec& s) { s.a_offset = 1e10; });
  refuses([](BitConvSpec& s) { s.a_basis = {30000, 30000}, s.w_basis = {{30000}, {30000}}; });
  refuses([&](BitConvSpec& s) { s.rule = Rule::learned, s.a_basis[0] = nan; });
  refuses([&](BitConvSpec& s) { s.rule = Rule::learned, s.w_basis[0] = {infinity}; });
  refuses([](BitConvSpec& s) { s.rule = Rule::learned, s.w_basis[0] = {1, 2, 3}; });
  refuses([](BitConvSpec& s) { s.rule = Rule::learned, s.epilogue.output = Output::accumulators; });
  refuses([](BitConvSpec& s) { s.epilogue.thresholds[1] = s.epilogue.thresholds[0] - 1; });
  refuses([](BitConvSpec& s) { s.epilogue.thresholds[1] = std::nanf(""); });
  refuses([](BitConvSpec& s) { s.epilogue.thresholds.pop_back(); });
  refuses([](BitConvSpec& s) { s.epilogue.thresholds.resize(16, 100.f), s.epilogue.codes.resize(17); });
  refuses([](BitConvSpec& s) { s.epilogue.scale[2] = std::nanf(""); });
  refuses([](BitConvSpec& s) { s.epilogue.scale = {1e38f}; });
  refuses([](BitConvSpec& s) { s.epilogue.offset = {1, 2}; });
  refuses([](BitConvSpec& s) { s.epilogue.output = Output::uniform, s.epilogue.zero = -1; });
  refuses([](BitConvSpec& s) { s.epilogue.output = Output::uniform, s.epilogue.lo = 9, s.epilogue.hi = 8; });
  CHECK_THROWS_AS(BitConv(good.spec, "avx1024"), Error);
  Case learned = good;
  learned.learned();
  CHECK_THROWS_AS(BitConv(learned.spec, {}, Path::tables), Error);
  const BitConv conv(good.spec);
  CHECK_THROWS_AS(BitConv(Case(8, 8, 5, square_geometry(), 1, 9, 9).spec).output(4, 9), Error);
  std::vector<uint8_t> x(8 * 16), y(16 * 16);
  CHECK_THROWS_AS(conv.run(x.data(), 1, 4, 4, y.data(), {}), Error);
}

}  // namespace
}  // namespace nibble::bits
