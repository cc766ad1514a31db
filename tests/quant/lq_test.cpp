#include "tests/quant/lq_support.h"

using namespace nibble;
using namespace nibble::test;

TEST_CASE("lq: the weights of the specification's oracle A") {
  const auto lq = make_lq(weights_json(2), {0.25f, 0.5f});
  std::vector<float> levels = levels_of(lq->grid(), 0);
  CHECK(levels == std::vector<float>{-0.75f, -0.25f, 0.25f, 0.75f});
  const Tensor y = run(*lq, tensor(kWeights));
  CHECK(values_of(y) == std::vector<float>{-0.75f, -0.25f, -0.25f, -0.25f, 0.25f, 0.25f, 0.75f, 0.75f});
  CHECK(compare(basis_of(*lq), {0.25483333, 0.50183333}, 0, 1e-7) == "");
  const auto fitted = make_lq(weights_json(2, 1, {{"average", 0}}), {0.25f, 0.5f});
  run(*fitted, tensor(kWeights));
  CHECK(compare(basis_of(*fitted), {0.29833263, 0.51833293}, 0, 5e-8) == "");
  const auto plain = make_lq(weights_json(2, 1, {{"average", 0}, {"proximal", 0}}), {0.25f, 0.5f});
  run(*plain, tensor(kWeights));
  CHECK(compare(basis_of(*plain), {0.29833333, 0.51833333}, 0, 5e-8) == "");
  levels = levels_of(plain->grid(), 0);
  CHECK(compare(Doubles(levels.begin(), levels.end()), {-0.81666667, -0.22, 0.22, 0.81666667}, 0, 2e-7) == "");
}

TEST_CASE("lq: the activations of the specification's oracle B") {
  const auto lq = make_lq(act_json(2));
  const Tensor y = run(*lq, tensor(kActivations));
  const double a = 0.44966667, b = 0.89933333;
  CHECK(compare(y, {0, 0, 0, a, a, b, 1.349, 1.349, 1.349, 0}, 0, 2e-7) == "");
  CHECK(compare(basis_of(*lq), {0.46106364, 0.92212727}, 0, 1e-6) == "");
  const auto fitted = make_lq(act_json(2, {{"average", 0}, {"proximal", 0}}));
  const Tensor dx = input_gradient(*fitted, tensor(kActivations), Tensor::full({10}, 1));
  CHECK(values_of(dx) == std::vector<float>{1, 1, 1, 1, 1, 1, 1, 0, 0, 1});
  CHECK(compare(basis_of(*fitted), {0.56363636, 1.12727273}, 0, 2e-7) == "");
}

TEST_CASE("lq: data that say nothing of a bit leave it alone (oracle C)") {
  const auto lq = make_lq(act_json(2));
  const std::vector<double> before = basis_of(*lq);
  run(*lq, tensor({0, 0.05f, 0.1f}));
  CHECK(basis_of(*lq) == before);
  SmallVector v{0.3, 0.6};
  SmallMatrix g{};
  g[0] = g[1] = {3, 3};
  CHECK(refit(2, g, {6, 6}, 1e-4, v));
  CHECK(compare(Doubles{v[0], v[1]}, {0.84999083, 1.14999083}, 0, 1e-8) == "");
  CHECK_FALSE(refit(2, g, {6, 6}, 0, v));  // without the pull there is no solution, and v stays
  CHECK(compare(Doubles{v[0], v[1]}, {0.84999083, 1.14999083}, 0, 1e-8) == "");
}

TEST_CASE("lq: levels are sorted together with their codes (oracles D and E)") {
  const auto check = [](const std::vector<float>& basis, const Doubles& levels, const std::vector<uint8_t>& codes) {
    LevelTables tables;
    tables.build(basis_grid({3, true}, basis));
    const auto found = tables.levels(0);
    CHECK(compare(Doubles(found.begin(), found.end()), levels, 0, 1e-7) == "");
    CHECK(std::vector<uint8_t>(tables.codes(0).begin(), tables.codes(0).end()) == codes);
  };
  check({0.1f, 0.3f, 0.45f}, {-0.85, -0.65, -0.25, -0.05, 0.05, 0.25, 0.65, 0.85}, {0, 1, 2, 3, 4, 5, 6, 7});
  check({0.3f, -0.1f, 0.5f}, {-0.9, -0.7, -0.3, -0.1, 0.1, 0.3, 0.7, 0.9}, {2, 0, 3, 1, 6, 4, 7, 5});
}

TEST_CASE("lq: the first basis is that of section 2.3") {
  const auto first = [](const Json& json) { return basis_of(*make_lq(json)); };
  CHECK(compare(first(weights_json(1, 1, {{"fan_out", 576}})), {0.03974529}, 0, 5e-9) == "");
  CHECK(compare(first(weights_json(2, 1, {{"fan_out", 576}})), {0.01987265, 0.03974529}, 0, 5e-9) == "");
  CHECK(compare(first(weights_json(3, 1, {{"fan_out", 576}})), {0.00993632, 0.01987265, 0.03974529}, 0, 5e-9) == "");
  CHECK(compare(first(weights_json(2, 2, {{"fan_out", 144}})), {0.03974529, 0.07949059, 0.03974529, 0.07949059}, 0,
                5e-9) == "");
  CHECK(compare(first(weights_json(2, 1, {{"fan_out", 128}})), {0.04215625, 0.0843125}, 0, 5e-9) == "");
  CHECK(compare(first(act_json(1)), {1.349}, 0, 1e-7) == "");
  CHECK(compare(first(act_json(3)), {0.19271429, 0.38542857, 0.77085714}, 0, 5e-8) == "");
  CHECK(compare(first(act_json(4)), {0.08993333, 0.17986667, 0.35973333, 0.71946667}, 0, 5e-8) == "");
}

TEST_CASE("lq: forward pass and refit agree with the paper's formulas for 1 to 8 bits") {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const bool weight : {true, false}) {
      CAPTURE(bits);
      CAPTURE(weight);
      const int channels = weight ? 3 : 1;
      const auto lq = make_lq(weight ? weights_json(bits, channels, {{"fan_out", 27}}) : act_json(bits));
      const Tensor x = normal_tensor({channels, 307}, 10u + static_cast<uint64_t>(bits), 0.1f, 0.3f);
      for (int step = 0; step < 3; ++step) {
        const Doubles before = basis_of(*lq), values = doubles_of(x);
        Doubles y, after;
        for (size_t c = 0; c < static_cast<size_t>(channels); ++c) {
          const auto part = [](const Doubles& all, size_t width, size_t i) {
            return Doubles(all.begin() + static_cast<ptrdiff_t>(i * width),
                           all.begin() + static_cast<ptrdiff_t>((i + 1) * width));
          };
          const Doubles own = part(values, 307, c);
          const Paper paper{weight ? -1.0 : 0.0, part(before, static_cast<size_t>(bits), c)};
          const Doubles quantized = paper.quantize(own), fitted = paper.solve(own, 1e-4);
          y.insert(y.end(), quantized.begin(), quantized.end());
          for (size_t k = 0; k < fitted.size(); ++k) after.push_back(0.9 * paper.v[k] + 0.1 * fitted[k]);
        }
        CHECK(compare(run(*lq, x), y, 1e-6) == "");
        CHECK(compare(basis_of(*lq), after, 2e-6) == "");
      }
    }
  }
}

TEST_CASE("lq: with T iterations the output has the levels of the last basis but one") {
  const auto lq = make_lq(act_json(2, {{"iterations", 3}}));
  const Tensor x = random_tensor({1000}, 3, 0, 2);
  Paper paper{0, basis_of(*lq)};
  const Doubles first = paper.v;
  paper.v = paper.solve(doubles_of(x), 1e-4);
  paper.v = paper.solve(doubles_of(x), 1e-4);
  const Tensor y = run(*lq, x);
  CHECK(compare(y, paper.quantize(doubles_of(x)), 1e-6) == "");
  const Doubles last = paper.solve(doubles_of(x), 1e-4);
  CHECK(compare(basis_of(*lq), {0.9 * first[0] + 0.1 * last[0], 0.9 * first[1] + 0.1 * last[1]}, 1e-6) == "");
}

TEST_CASE("lq: the error of QEM without average and pull never grows") {
  for (const bool weight : {true, false}) {
    const auto lq = make_lq(weight ? weights_json(3, 1, {{"average", 0}, {"proximal", 0}, {"fan_out", 30}})
                                   : act_json(3, {{"average", 0}, {"proximal", 0}}));
    const Tensor x = weight ? normal_tensor({4000}, 5, 0.05f, 0.4f) : random_tensor({4000}, 6, -1, 3);
    double first = 0, last = std::numeric_limits<double>::infinity();
    for (int step = 0; step < 8; ++step) {
      const Tensor y = run(*lq, x);
      double error = 0;
      for (size_t i = 0; i < 4000; ++i) error += std::pow(x.data<float>()[i] - y.data<float>()[i], 2.0);
      CHECK(error <= last * (1 + 1e-6));
      if (step == 0) first = error;
      last = error;
    }
    CHECK(last < 0.9 * first);
  }
}

TEST_CASE("lq: one bit finds the mean of |w|, or of the activations above half the level") {
  const Json now{{"average", 0}, {"proximal", 0}};
  const Tensor x = normal_tensor({999}, 8);
  double all = 0, above = 0, n = 0;
  for (const float v : x.data<float>()) {
    all += std::abs(v);
    if (v > 0.4f) above += v, ++n;
  }
  const auto weights = make_lq(weights_json(1, 1, now)), acts = make_lq(act_json(1, now), {0.8f});
  run(*weights, x);
  run(*acts, x);
  CHECK(compare(basis_of(*weights), {all / 999}, 1e-6) == "");
  CHECK(compare(basis_of(*acts), {above / n}, 1e-6) == "");
}

TEST_CASE("lq: the refitted basis scales with the data and does not depend on their order") {
  const Json options = act_json(3, {{"proximal", 0}});
  const Tensor x = random_tensor({5000}, 9, 0, 2);
  std::vector<float> scaled = values_of(x), shuffled = values_of(x),
                     basis = values_of(tensor_of(*make_lq(options), "basis"));
  for (float& v : scaled) v *= 4;
  for (float& v : basis) v *= 4;
  std::ranges::sort(shuffled);
  const auto one = make_lq(options), four = make_lq(options, basis), other = make_lq(options);
  const std::vector<float> y = values_of(run(*one, x)), y4 = values_of(run(*four, tensor(scaled)));
  run(*other, tensor(shuffled));
  for (size_t i = 0; i < y.size(); ++i) CHECK(y4[i] == 4 * y[i]);
  for (size_t k = 0; k < 3; ++k) CHECK(basis_of(*four)[k] == 4 * basis_of(*one)[k]);
  CHECK(compare(basis_of(*other), basis_of(*one), 1e-6) == "");
}

TEST_CASE("lq: a training pass decides as snap does, next to every threshold and for every length") {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const bool weight : {true, false}) {
      const auto lq = make_lq(weight ? weights_json(bits, 1, {{"fan_out", 7}}) : act_json(bits));
      const Grid grid = lq->grid();
      std::vector<float> levels = levels_of(grid, 0), values{0, -0.0f, 1e-45f, -100, 100};
      std::ranges::sort(levels);
      for (size_t l = 0; l + 1 < levels.size(); ++l) {
        const auto middle = static_cast<float>((double{levels[l]} + levels[l + 1]) / 2);
        for (const float v : {std::nextafter(middle, -kInf), middle, std::nextafter(middle, kInf), levels[l]})
          values.push_back(v);
      }
      for (const size_t extra : {0u, 1u, 2u, 3u}) {
        const Tensor x = tensor(std::vector<float>(values.begin(), values.end() - static_cast<ptrdiff_t>(extra)));
        const Tensor y = snap(x, lq->grid());
        CHECK(same_bits(run(*lq, x), y));
      }
      const Tensor large = normal_tensor({20011}, 4), y = snap(large, lq->grid());
      CHECK(same_bits(run(*lq, large), y));
    }
  }
}

TEST_CASE("lq: the levels of weights are symmetric to the bit, and 0 takes the lower one of the middle") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<float> basis = values_of(random_tensor({5}, seed, 0.01f, 0.7f));
    const auto lq = make_lq(weights_json(5, 1), basis);
    std::vector<float> levels = levels_of(lq->grid(), 0);
    std::ranges::sort(levels);
    for (size_t l = 0; l < 32; ++l) CHECK(levels[l] == -levels[31 - l]);
    CHECK(run(*lq, Tensor::zeros({4})).data<float>()[0] == levels[15]);
  }
}

TEST_CASE("lq: weights pass the gradient whole, activations up to the top level; another rule can take their place") {
  const Tensor x = Tensor::of({-3, -0.1f, 0.2f, 1.3f, 1.4f, 9}), dy = Tensor::of({1, 2, 3, 4, 5, 6});
  CHECK(values_of(input_gradient(*make_lq(weights_json(2)), x, dy)) == values_of(dy));
  CHECK(values_of(input_gradient(*make_lq(act_json(2)), x, dy)) == std::vector<float>{1, 2, 3, 4, 0, 0});
  const auto clipped = make_lq(act_json(2, {{"backward", "clipped_ste"}}));
  CHECK(values_of(input_gradient(*clipped, x, dy)) == std::vector<float>{0, 0, 3, 4, 0, 0});
  // Each channel has its own ends, and they are those of this pass, not of the refitted basis.
  const auto weights = make_lq(weights_json(1, 2, {{"backward", "clipped_ste"}, {"average", 0}}), {0.15f, 2});
  CHECK(values_of(input_gradient(*weights, Tensor::from({2, 3}, std::vector<float>{-3, -0.1f, 0.2f, 1.3f, 1.4f, 9}),
                                 Tensor::from({2, 3}, values_of(dy)))) == std::vector<float>{0, 2, 0, 4, 5, 0});
}

TEST_CASE("lq: the back-propagated basis is a parameter with the gradient sum of dy e_k, and nothing refits it") {
  for (int bits : {1, 2, 3, 6}) {
    for (const bool weight : {true, false}) {
      const Json bp{{"train", "bp"}, {"fan_out", 30}};
      const int channels = weight ? 2 : 1;
      const auto lq = make_lq(weight ? weights_json(bits, channels, bp) : act_json(bits, bp));
      const Tensor x = normal_tensor({channels, 501}, 21, 0.2f, 0.5f), dy = normal_tensor({channels, 501}, 22);
      const Doubles before = basis_of(*lq);
      Doubles expected;
      for (size_t c = 0; c < static_cast<size_t>(channels); ++c) {
        const auto k = static_cast<ptrdiff_t>(bits);
        const Paper paper{weight ? -1.0 : 0.0, Doubles(before.begin() + static_cast<ptrdiff_t>(c) * k,
                                                       before.begin() + static_cast<ptrdiff_t>(c + 1) * k)};
        Doubles sums(static_cast<size_t>(bits), 0.0);
        for (size_t i = c * 501; i < (c + 1) * 501; ++i) {
          const size_t code = paper.code(x.data<float>()[i]);
          for (size_t b = 0; b < sums.size(); ++b) sums[b] += dy.data<float>()[i] * paper.bit(code, b);
        }
        expected.insert(expected.end(), sums.begin(), sums.end());
      }
      const Tensor dx = input_gradient(*lq, x, dy);
      CHECK(compare(States(*lq).params.at("basis").grad(), expected, 1e-6) == "");
      CHECK_FALSE(States(*lq).traits.at("basis").decay);
      CHECK(basis_of(*lq) == before);
      const float top = levels_of(lq->grid(), 0).back();
      for (size_t i = 0; i < 501; ++i)
        CHECK(dx.data<float>()[i] == (weight || x.data<float>()[i] <= top ? dy.data<float>()[i] : 0));
    }
  }
}
