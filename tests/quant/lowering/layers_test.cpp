#include <cmath>
#include <map>

#include "quant/lowering/channel_map.h"
#include "quant/lowering/encode.h"
#include "quant/lowering/lowered_layer.h"
#include "quant/lowering/weight_codes.h"
#include "tests/quant/lowering/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

// The specification's integer arithmetic once more, on 64 bits, and its range formula in double.

int64_t high_mul(int64_t a, int64_t b) {
  const int64_t p = a * b, nudge = p >= 0 ? int64_t{1} << 30 : 1 - (int64_t{1} << 30);
  return (p + nudge) / (int64_t{1} << 31);
}

int64_t divided(int64_t x, int e) {
  return static_cast<int64_t>(std::round(static_cast<double>(x) / std::ldexp(1.0, e)));
}

/// x * m with the two roundings.
int64_t scaled(int64_t x, double m) {
  int e = 0;
  const double f = std::frexp(m, &e);
  int64_t q = std::llround(std::ldexp(f, 31));
  if (q == int64_t{1} << 31) q /= 2, ++e;
  return divided(high_mul(x << std::max(e, 0), q), std::max(-e, 0));
}

struct Affine {
  double s = 1;
  int z = 0;
  Affine(double min, double max, int qmin) {
    min = std::min(min, 0.0);
    max = std::max(max, 0.0);
    s = static_cast<float>((max - min) / (255 - qmin));
    z = static_cast<int>(std::round(std::clamp(qmin - min / ((max - min) / (255 - qmin)), double(qmin), 255.0)));
  }
  int code(double r, int qmin) const { return std::clamp(static_cast<int>(std::floor(r / s + 0.5)) + z, qmin, 255); }
};

std::map<std::string, std::vector<float>> state_by_name(const Graph& graph) {
  std::map<std::string, std::vector<float>> result;
  for (const NamedTensor& entry : state_of(graph))
    if (entry.tensor.dtype() == DType::f32) result[entry.name] = values_of(entry.tensor);
  return result;
}

Affine range_of(const std::map<std::string, std::vector<float>>& state, const std::string& name) {
  const std::vector<float>& r = state.at(name + ".range");
  return {r[0], r[1], 0};
}

Tensor codes_of(const Shape& shape, uint64_t seed) {
  const Rng rng(seed);
  Tensor x = Tensor::empty(shape, DType::u8);
  auto codes = x.mutable_data<uint8_t>();
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(rng.below(i, 256));
  return x;
}

std::vector<int> ints(const Tensor& x) {
  const auto codes = x.data<uint8_t>();
  return {codes.begin(), codes.end()};
}

}  // namespace

TEST_CASE("int8_conv: a folded convolution with ReLU6 is the specification's arithmetic, code for code") {
  constexpr int kIn = 3, kOut = 5, kSize = 7;
  const Json model{{"type", "graph"},
                   {"input", {kSize, kSize, kIn}},
                   {"nodes",
                    {{{"name", "conv1"}, {"type", "conv2d"}, {"in", kIn}, {"out", kOut}, {"pad", 1}, {"stride", 2}},
                     {{"name", "bn"}, {"type", "batch_norm"}, {"channels", kOut}},
                     {{"name", "act"}, {"type", "relu6"}}}}};
  const Graph eval = quantized_network(model, integer_rules({{"type", "affine"}}, true), 31);
  const Lowered lowered = lower(eval);
  const Tensor x = images(eval, 3, 77);
  std::map<std::string, Tensor> edges;
  lowered.graph.forward(x, {}, [&](const Node& node, const Tensor& y) { edges[node.name] = y; });

  auto state = state_by_name(eval);
  const Affine in = range_of(state, "input.out"), out = range_of(state, "act.out");
  std::vector<double> folded, bias;
  for (size_t o = 0; o < kOut; ++o) {
    const double sigma = std::sqrt(static_cast<double>(state["conv1.bn.running_var"][o]) + 1e-5);
    const double ratio = state["conv1.bn.weight"][o] / sigma;
    bias.push_back(state["conv1.bn.bias"][o] - ratio * state["conv1.bn.running_mean"][o]);
    for (size_t i = 0; i < 9 * kIn; ++i) folded.push_back(ratio * state["conv1.weight"][o * 9 * kIn + i]);
  }
  const Affine w(*std::ranges::min_element(folded), *std::ranges::max_element(folded), 1);
  const std::vector<int> q = ints(edges.at("input.out")), found = ints(edges.at("act.out"));
  const auto values = x.data<float>();
  for (size_t i = 0; i < q.size(); ++i) CHECK(q[i] == in.code(values[i], 0));
  size_t at = 0;
  int64_t wrong = 0, clamped = 0;
  const int least = out.z, most = std::min(255, out.z + static_cast<int>(std::round(6 / out.s)));
  for (int n = 0; n < 3; ++n)
    for (int y = 0; y < 4; ++y)
      for (int xx = 0; xx < 4; ++xx)
        for (int o = 0; o < kOut; ++o, ++at) {
          int64_t acc = std::llround(bias[static_cast<size_t>(o)] / (w.s * in.s));
          for (int i = 0; i < kIn; ++i)
            for (int t = 0; t < 9; ++t) {
              const int r = 2 * y + t / 3 - 1, c = 2 * xx + t % 3 - 1;
              if (r < 0 || c < 0 || r >= kSize || c >= kSize) continue;
              const int q2 = q[static_cast<size_t>(((n * kSize + r) * kSize + c) * kIn + i)];
              acc += (w.code(folded[static_cast<size_t>((o * kIn + i) * 9 + t)], 1) - w.z) * (q2 - in.z);
            }
          const auto code = std::clamp<int64_t>(scaled(acc, w.s * in.s / out.s) + out.z, least, most);
          wrong += code != found[at];
          clamped += code == least;
        }
  CHECK(wrong == 0);
  CHECK(clamped > 10);
}

TEST_CASE("int8_avg_pool: the specification's examples, windows over the edge, and other grids") {
  const Json same{{"type", "int8_avg_pool"}, {"global", true}, {"in_scale", 0.1}, {"scale", 0.1}};
  const auto mean = [&](std::vector<uint8_t> row) {
    const auto n = static_cast<int64_t>(row.size());
    return ints(run_layer(same, Tensor::from<uint8_t>({1, 1, n, 1}, row)))[0];
  };
  CHECK(mean({1, 2}) == 2);
  CHECK(mean({1, 2, 3, 4}) == 3);
  CHECK(mean({255, 254, 254}) == 254);
  CHECK(mean({0, 0, 0, 1}) == 0);
  CHECK(mean({0, 0, 1, 1}) == 1);
  const Tensor x = codes_of({2, 7, 6, 3}, 5);
  for (const std::string epilogue : {"fixed", "float"})
    for (const bool count : {false, true}) {
      CAPTURE(epilogue);
      CAPTURE(count);
      const Json pool{{"kernel", {3, 2}}, {"stride", 2}, {"pad", {1, 1, 0, 1}}, {"ceil_mode", true}};
      Json real = pool, codes = pool;
      real.update({{"type", "avg_pool"}, {"count_padding", count}});
      codes.update({{"type", "int8_avg_pool"},
                    {"count_padding", count},
                    {"epilogue", epilogue},
                    {"in_scale", 0.25},
                    {"in_zero", 100},
                    {"scale", 0.171},
                    {"zero", 77},
                    {"levels", 201}});
      Tensor values = Tensor::empty(x.shape());
      for (size_t i = 0; i < ints(x).size(); ++i)
        values.mutable_data<float>()[i] = 0.25f * static_cast<float>(x.data<uint8_t>()[i] - 100);
      const Tensor expected = run_layer(real, values), found = run_layer(codes, x);
      REQUIRE(found.shape() == expected.shape());
      for (size_t i = 0; i < ints(found).size(); ++i) {
        const double code = std::clamp(expected.data<float>()[i] / 0.171 + 77, 0.0, 200.0);
        CHECK(std::abs(code - ints(found)[i]) < 0.5001);
      }
    }
}

TEST_CASE("int8_max_pool and int8_move: what the layers in float do to values, bit for bit") {
  const Tensor x = codes_of({2, 7, 5, 6}, 9);
  const Coding coding{0.5f, 90, 1, 256};
  Tensor values = Tensor::empty(x.shape());
  for (size_t i = 0; i < ints(x).size(); ++i) values.mutable_data<float>()[i] = coding.value(x.data<uint8_t>()[i]);
  const auto same = [&](const Json& real, const Json& codes) {
    const Tensor expected = run_layer(real, values), found = run_layer(codes, x);
    REQUIRE(found.shape() == expected.shape());
    for (size_t i = 0; i < ints(found).size(); ++i)
      CHECK(coding.value(found.data<uint8_t>()[i]) == expected.data<float>()[i]);
  };
  for (const Json& window : {Json{{"kernel", 2}}, Json{{"kernel", 3}, {"stride", 2}, {"pad", "same"}},
                             Json{{"kernel", 3}, {"stride", 2}, {"pad", 1}, {"ceil_mode", true}}}) {
    Json real = window, codes = window;
    real["type"] = "max_pool";
    codes["type"] = "int8_max_pool";
    if (!codes.contains("stride")) codes["stride"] = 2;
    same(real, codes);
  }
  same({{"type", "flatten"}}, {{"type", "int8_move"}, {"flatten", true}, {"zero", 90}});
  for (const bool both : {true, false})
    same({{"type", "shortcut_a"}, {"out", 11}, {"stride", 2}, {"pad", both ? "both" : "behind"}},
         {{"type", "int8_move"}, {"channels", 11}, {"stride", 2}, {"centred", both}, {"zero", 90}});
}

TEST_CASE("int8_softmax, int8_logistic and int8_tanh: the specification's tables, and within a code of the exact") {
  const Json rows{{"type", "int8_softmax"}, {"in_scale", 0.1}};
  CHECK(ints(run_layer(rows, Tensor::from<uint8_t>({1, 4}, std::vector<uint8_t>{10, 20, 30, 40}))) ==
        std::vector<int>{8, 22, 61, 165});
  Tensor all = Tensor::empty({256}, DType::u8);
  for (size_t i = 0; i < 256; ++i) all.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(i);
  const auto logistic = ints(run_layer({{"type", "int8_logistic"}, {"in_scale", 0.0625}, {"in_zero", 128}}, all));
  const auto tanh = ints(run_layer({{"type", "int8_tanh"}, {"in_scale", 0.0625}, {"in_zero", 128}}, all));
  const size_t at[] = {0, 64, 100, 127, 128, 129, 140, 200, 255};
  const int expected_logistic[] = {0, 5, 38, 124, 128, 132, 174, 253, 255};
  const int expected_tanh[] = {0, 0, 8, 120, 128, 136, 209, 255, 255};
  for (size_t i = 0; i < 9; ++i) CHECK(logistic[at[i]] == expected_logistic[i]);
  for (size_t i = 0; i < 9; ++i) CHECK(tanh[at[i]] == expected_tanh[i]);
  for (int q = 0; q < 256; ++q) {
    const double v = (q - 128) / 16.0;
    CHECK(std::abs(std::min(255.0, 256 / (1 + std::exp(-v))) - logistic[static_cast<size_t>(q)]) < 0.51);
    CHECK(std::abs(std::min(255.0, 128 * std::tanh(v) + 128) - tanh[static_cast<size_t>(q)]) < 0.51);
  }
  const Tensor logits = codes_of({9, 21}, 3);
  const auto found = ints(run_layer({{"type", "int8_softmax"}, {"in_scale", 0.05}, {"in_zero", 40}}, logits));
  for (size_t n = 0; n < 9; ++n) {
    double sum = 0;
    for (size_t k = 0; k < 21; ++k) sum += std::exp(0.05 * ints(logits)[n * 21 + k]);
    for (size_t k = 0; k < 21; ++k)
      CHECK(std::abs(256 * std::exp(0.05 * ints(logits)[n * 21 + k]) / sum - found[n * 21 + k]) < 1.5);
  }
}

TEST_CASE("lower: an integer softmax ends an affine network") {
  Json model = resnet_json("post", "A");
  Graph real = trained_model(model);
  real.add("probabilities", {{"type", "softmax"}}, {"linear"});
  Json text = real.to_json();
  text["type"] = "graph";
  text.erase("outputs");
  const Graph eval = quantized_network(text, integer_rules({{"type", "affine"}}, true));
  const Lowered lowered = lower(eval);
  CHECK(count_of(lowered.graph, "int8_softmax") == 1);
  CHECK(float_nodes(lowered) == "");
  const Tensor x = images(eval, 4, 3), a = eval.forward(x, {}), b = lowered.graph.forward(x, {});
  for (size_t i = 0; i < a.data<float>().size(); ++i)
    CHECK(b.data<float>()[i] == doctest::Approx(a.data<float>()[i]).epsilon(0.08));
}

TEST_CASE("coding: which grids have codes, and where 0 lies among them") {
  std::string why;
  const auto of = [&](const Grid& grid) { return coding_of(grid, why); };
  CHECK(of(Uniform{{0.5f}, {0}, -3, 4}) == Coding{0.5f, 3, 1, 8});
  CHECK(of(Uniform{{0.5f}, {-1.5f}, 0, 7}) == Coding{0.5f, 3, 1, 8});
  CHECK(of(Codebook{{-1, 1}, {0}}) == Coding{1, 1, 2, 2});
  CHECK(of(Codebook{{-2, 0, 2}, {-1, 1}}) == Coding{2, 1, 1, 3});
  const std::optional<Coding> ladder = of(Codebook{{-2, 0, 3}, {-1, 1}});
  REQUIRE(ladder);
  CHECK(ladder->ladder);
  CHECK(ladder->ascending() == std::vector<uint8_t>{0, 1, 3});
  CHECK(ladder->value(3) == 3);
  CHECK(ladder->zero_code() == 1);
  const std::optional<Coding> shifted = of(Uniform{{0.5f}, {0.2f}, 0, 3});
  REQUIRE(shifted);
  CHECK(shifted->highest() == 3);
  CHECK(shifted->value(2) == 1.2f);
  CHECK(!shifted->zero_code());
  CHECK(of(BitPlanes{{0}, {{0.7f}, {0.3f}}})->ascending() == std::vector<uint8_t>{0, 2, 1, 3});
  CHECK_FALSE(of(Uniform{{0.5f}, {0.2f}, 0, 299 - 100}));
  CHECK(mentions(why, {"not equally spaced around 0"}));
  CHECK_FALSE(of(Real{}));
  for (const Grid& grid : {Grid{Uniform{{0.1f}, {0}, -3, 4, Ties::up}}, Grid{Codebook{{-1, 1}, {0}}},
                           Grid{BitPlanes{{0}, {{0.3f}, {0.6f}}}}})
    CHECK(grid_json(grid_from_json(Config(grid_json(grid)))) == grid_json(grid));
  CHECK(mentions(message_of([] {
                   grid_from_json(Config(Json{{"uniform", {{"scale", 1}, {"lo", 3}, {"hi", 1}}}}));
                 }),
                 {"lo..hi"}));
}

TEST_CASE("coding: a grid's steps are what encode() does, up to the last float before each threshold") {
  const Grid grids[] = {Uniform{{0.3f}, {0}, -1, 2},          Uniform{{0.3f}, {0}, 0, 3, Ties::up},
                        Uniform{{0.7f}, {-0.35f}, 0, 1},      BitPlanes{{0}, {{0.7f}, {0.3f}}},
                        BitPlanes{{-1.1f}, {{0.9f}, {0.9f}}}, Codebook{{-2, 0, 3, 3.5f}, {-1.2f, 0.1f, 3.3f}}};
  for (const Grid& grid : grids) {
    std::string why;
    const std::optional<Coding> coding = coding_of(grid, why);
    REQUIRE(coding);
    const Steps steps = steps_of(grid, *coding);
    REQUIRE(steps.codes.size() == steps.thresholds.size() + 1);
    std::vector<float> values;
    for (int i = -300; i < 500; ++i) values.push_back(static_cast<float>(i) * 0.01f);
    for (const float t : steps.thresholds)
      for (const float x : {t, std::nextafter(t, -10.f), std::nextafter(t, 10.f)}) values.push_back(x);
    const std::array<uint8_t, 256> table = code_table(grid, *coding);
    for (const float x : values) {
      const auto above = static_cast<size_t>(std::ranges::count_if(steps.thresholds, [x](float t) { return x > t; }));
      const uint8_t code = encode(Tensor::of({x}), grid).data<uint8_t>()[0];
      CHECK(coding->value(steps.codes[above]) == coding->value(table[code]));
      CHECK(coding->value(table[code]) == doctest::Approx(levels_of(grid, 0)[code]).epsilon(1e-6));
    }
  }
}

TEST_CASE("encode: the layer writes the codes of encode(), few levels or many, and refuses NaN") {
  const Grid grids[] = {Uniform{{0.3f}, {0}, -1, 2},
                        Uniform{{0.3f}, {0}, 0, 7, Ties::up},
                        Uniform{{0.02f}, {0}, -9, 90},
                        Uniform{{0.7f}, {-0.35f}, 0, 1},
                        BitPlanes{{0}, {{0.7f}, {0.3f}}},
                        BitPlanes{{-1.1f}, {{0.9f}, {0.9f}}},
                        Codebook{{-2, 0, 3, 3.5f}, {-1.2f, 0.1f, 3.3f}}};
  Tensor x = random_tensor({3, 23, 19, 11}, 9, -4, 4);
  x.mutable_data<float>()[5] = -INFINITY;
  x.mutable_data<float>()[7] = INFINITY;
  for (const Grid& grid : grids) {
    CAPTURE(grid_json(grid).dump());
    Encode layer({.grid = Config(grid_json(grid))});
    const Tensor codes = layer.forward({&x, 1}, {Mode::eval}), expected = encode(x, grid);
    const std::array<uint8_t, 256> table = code_table(grid, *layer.coding(std::array<std::optional<Coding>, 1>{}));
    bool same = true;
    for (size_t i = 0; i < codes.data<uint8_t>().size(); ++i)
      same &= codes.data<uint8_t>()[i] == table[expected.data<uint8_t>()[i]];
    CHECK(same);
    const Tensor nan = Tensor::of({0.f, NAN, 1.f});
    CHECK_THROWS_WITH_AS(layer.forward({&nan, 1}, {Mode::eval}), doctest::Contains("element 1"), Error);
  }
}

TEST_CASE("weight codes: every uniform grid, exactly") {
  const auto check = [](const Grid& grid, int unit, bool offset) {
    GemmForm gemm;
    gemm.weight_grid = grid;
    gemm.weight = snap(random_tensor({3, 11}, 4, -1, 1), grid);
    std::string why;
    const auto codes = weight_codes(gemm, why);
    REQUIRE(codes);
    CHECK(codes->unit == unit);
    CHECK(!codes->offset.empty() == offset);
    for (size_t i = 0; i < 33; ++i) {
      const size_t c = i / 11;
      const double shift = offset ? codes->offset[codes->offset.size() == 1 ? 0 : c] : 0;
      const int q = codes->codes.data<uint8_t>()[i];
      CHECK(static_cast<float>(codes->scale_of(c) * (unit * q - codes->zero_of(c)) + shift) ==
            gemm.weight.data<float>()[i]);
    }
  };
  check(Uniform{{0.1f}, {0}, -7, 8}, 1, false);
  check(Uniform{{0.1f, 0.2f, 0.05f}, {0}, -128, 127}, 1, false);
  check(Uniform{{0.25f, 0.5f, 0.125f}, {-0.75f, -0.5f, -0.375f}, 0, 7}, 1, false);
  check(Uniform{{0.25f}, {0.125f}, -4, 3}, 2, false);
  check(BitPlanes{{-0.3f, -0.4f, -0.7f}, {{0.6f, 0.8f, 1.4f}}}, 2, false);
  check(Uniform{{0.3f}, {-0.55f}, 0, 3}, 1, true);
}

TEST_CASE("channel map: layers compose as they compute one after the other") {
  const AffineClamp norm{{2, -3}, {0.5f, 1}, {-INFINITY}, {INFINITY}}, six{{1}, {0}, {0}, {6}},
      flip{{-0.5f, 0}, {1, 2}, {-1}, {4}};
  ChannelMap map(2, {0.25f, -0.5f});
  CHECK(map.unbounded());
  for (const AffineClamp& next : {norm, six, flip}) map.then(next);
  CHECK_FALSE(map.unbounded());
  for (size_t c = 0; c < 2; ++c)
    for (double x = -5; x < 5; x += 0.37) {
      double y = x + (c == 0 ? 0.25 : -0.5);
      y = norm.a[c] * y + norm.b[c];
      y = std::clamp(y, 0.0, 6.0);
      y = std::clamp(flip.a[c] * y + flip.b[c], -1.0, 4.0);
      CHECK(std::clamp(map.a[c] * x + map.b[c], map.lo[c], map.hi[c]) == doctest::Approx(y));
    }
  CHECK_FALSE(code_bounds(map, {0.1f, 20, 1, 256}, true));
  ChannelMap relu6(2, {});
  relu6.then(six);
  const auto bounds = code_bounds(relu6, {0.04f, 5, 1, 256}, true);
  REQUIRE(bounds);
  CHECK(bounds->lo == 5);
  CHECK(bounds->hi == 155);
}
