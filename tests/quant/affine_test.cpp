#include "quant/affine.h"

#include <cmath>
#include <functional>
#include <limits>

#include "core/parallel.h"
#include "tests/layers/support.h"
#include "tests/support/gradcheck.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr Pass kTrain{Mode::train};

std::shared_ptr<Affine> make(Json options) {
  options["type"] = "affine";
  return std::dynamic_pointer_cast<Affine>(make_layer(options));
}

Tensor run(Affine& q, const Tensor& x, const Pass& pass = {}) { return q.forward({&x, 1}, pass); }

/// Section 1 of the specification in double, from the range to codes, values and gradient mask.
struct Formula {
  double s, nmin, nmax;
  int z;

  Formula(double min, double max, int qmin, int qmax) {
    min = std::fmin(min, 0);
    max = std::fmax(max, 0);
    s = (max - min) / (qmax - qmin);
    z = static_cast<int>(std::round(std::fmin(std::fmax(qmin - min / s, qmin), qmax)));
    nmin = (qmin - z) * s;
    nmax = (qmax - z) * s;
  }
  double steps(double r) const { return (std::fmin(std::fmax(r, nmin), nmax) - nmin) / s; }
  double value(double r) const { return std::floor(steps(r) + 0.5) * s + nmin; }
  bool tie(double r) const { return std::abs(steps(r) - std::floor(steps(r)) - 0.5) < 1e-4; }
};

double least(const Tensor& x) { return *std::ranges::min_element(x.data<float>()); }
double most(const Tensor& x) { return *std::ranges::max_element(x.data<float>()); }

bool on_grid(const Tensor& y, const Grid& grid) { return same_bits(snap(y, grid), y); }

}  // namespace

TEST_CASE("affine: the worked example of eq. 12") {
  const auto q = make({});
  const Extremes range{-0.5f, 5.5f};
  q->set_ranges({&range, 1});
  const Tensor x = Tensor::of({-1, -0.5f, -0.011f, 0, 0.0117f, 0.0118f, 1, 5.49f, 6});
  const int codes[] = {0, 0, 21, 21, 21, 22, 64, 254, 255};
  const Tensor y = run(*q, x);
  const double s = 6.0 / 255;
  for (size_t i = 0; i < 9; ++i) CHECK(y.data<float>()[i] == doctest::Approx((codes[i] - 21) * s).epsilon(1e-6));
  CHECK(y.data<float>()[2] == 0.0f);
  CHECK(y.data<float>()[6] == doctest::Approx(1.011764706).epsilon(1e-6));
  CHECK(on_grid(y, q->grid()));
  CHECK(std::get<Uniform>(q->grid()).lo == -21);
  CHECK(std::get<Uniform>(q->grid()).hi == 234);
}

TEST_CASE("affine: weights and activations of every width follow the formula, forward and backward") {
  for (const char* role : {"weight", "act"}) {
    for (int bits = 4; bits <= 8; ++bits) {
      CAPTURE(role);
      CAPTURE(bits);
      const bool weight = std::string_view(role) == "weight";
      const auto q = make({{"role", role}, {"bits", bits}});
      Tensor x = normal_tensor({9, 613}, static_cast<uint64_t>(bits), 0.3f, 0.8f);
      if (!weight) run(*q, random_tensor({64}, 8, -0.5f, 1.5f), kTrain);  // so that values lie outside
      x.set_requires_grad();
      const Tensor dy = random_tensor(x.shape(), 6);
      const Tensor y = run(*q, x, kTrain);
      backward(weighted_sum(y, dy));
      double min = least(x), max = most(x);
      if (!weight) {
        // Two batches averaged without the initial value: (d (1-d) v1 + (1-d) v2) / (1 - d^2).
        const Tensor first = random_tensor({64}, 8, -0.5f, 1.5f);
        const double d = 0.999, a = d * (1 - d) / (1 - d * d), b = (1 - d) / (1 - d * d);
        min = a * least(first) + b * min;
        max = a * most(first) + b * max;
      }
      const Formula expected(min, max, weight ? 1 : 0, (1 << bits) - 1);
      int outside = 0;
      for (size_t i = 0; i < x.data<float>().size(); ++i) {
        const double v = x.data<float>()[i];
        CAPTURE(v);
        if (!expected.tie(v)) CHECK(std::abs(y.data<float>()[i] - expected.value(v)) < 2e-6);
        if (std::abs(v - expected.nmin) < 1e-5 || std::abs(v - expected.nmax) < 1e-5) continue;
        const bool inside = v >= expected.nmin && v <= expected.nmax;
        outside += !inside;
        CHECK(x.grad().data<float>()[i] == (inside ? dy.data<float>()[i] : 0.0f));
      }
      CHECK((weight || outside > 20));
      CHECK(on_grid(y, q->grid(weight ? x : Tensor())));
      CHECK(level_count(q->grid(x)) == (1 << bits) - (weight ? 1 : 0));
    }
  }
}

TEST_CASE("affine: halves are rounded up, or to even where that is asked for, as snap does") {
  const Extremes range{-128, 127};
  const Tensor x = Tensor::of({-2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f, 126.5f, 0.49999997f});
  const auto up = make({}), even = make({{"ties", "even"}});
  up->set_ranges({&range, 1});
  even->set_ranges({&range, 1});
  CHECK(values_of(run(*up, x)) == std::vector<float>{-2, -1, 0, 1, 2, 3, 127, 0});
  CHECK(values_of(run(*even, x)) == std::vector<float>{-2, -2, 0, 0, 2, 2, 126, 0});
  CHECK(same_bits(run(*even, x), snap(x, even->grid())));
}

TEST_CASE("affine: evaluation is snap on the stated grid, bit for bit, for ranges that make many ties") {
  for (const char* ties : {"up", "even"}) {
    const auto q = make({{"bits", 4}, {"ties", ties}});
    const Tensor range = Tensor::of({-0.5f, 7.0f});  // S = 1/2: every odd multiple of 1/4 is a tie
    q->forward({&range, 1}, {Mode::train});
    Tensor x = Tensor::empty({4001});
    for (size_t i = 0; i < 4001; ++i) x.mutable_data<float>()[i] = (static_cast<float>(i) - 2000) / 256;
    const Facts facts = q->facts();
    REQUIRE(facts.snaps_to);
    const Tensor y = q->forward({&x, 1}, {});
    CHECK(same_bits(y, snap(x, *facts.snaps_to)));
    CHECK(same_bits(y, decode(encode(x, *facts.snaps_to), *facts.snaps_to)));
    for (size_t i = 0; i < 4001; ++i) {
      const double v = x.data<float>()[i], u = std::clamp(v, -0.5, 7.0) / 0.5;
      const double code = ties[0] == 'u' ? std::floor(u + 0.5) : std::nearbyint(u);
      REQUIRE(double{y.data<float>()[i]} == 0.5 * code);
    }
  }
}

TEST_CASE("affine: a weight's values per channel are snap on its grid, bit for bit") {
  const Tensor w = random_tensor({5, 3, 3, 3}, 8);
  for (const bool symmetric : {false, true}) {
    const auto q = make({{"role", "weight"}, {"per_channel", true}, {"channels", 5}, {"symmetric", symmetric}});
    CHECK(same_bits(q->forward({&w, 1}, {}), snap(w, q->grid(w))));
  }
}

TEST_CASE("affine: the gradient passes on the ends of the nudged range and not beyond") {
  for (const float m : {1.0f, 0.1f, 0.3f, 1e-3f, 7.7f, 123.456f}) {
    CAPTURE(m);
    const auto q = make({{"role", "weight"}});
    Tensor x = Tensor::of({-m, 0, m}).set_requires_grad();  // symmetric: the nudged range is the range
    backward(sum(run(*q, x, kTrain)));
    CHECK(values_of(x.grad()) == std::vector<float>{1, 1, 1});
  }
  const auto q = make({});
  const Extremes range{-0.5f, 5.5f};
  q->set_ranges({&range, 1});
  const auto lowest = static_cast<float>(-21 * (6.0 / 255)), highest = static_cast<float>(234 * (6.0 / 255));
  Tensor x = Tensor::of({std::nextafter(lowest, -1.f), lowest, highest, std::nextafter(highest, 9.f), -0.5f, 5.5f});
  x.set_requires_grad();
  backward(sum(run(*q, x)));
  CHECK(values_of(x.grad()) == std::vector<float>{0, 1, 1, 0, 0, 1});
}

TEST_CASE("affine: another backward rule can take the place of the paper's") {
  const auto q = make({{"backward", "identity"}});
  const Extremes range{0, 1};
  q->set_ranges({&range, 1});
  Tensor x = Tensor::of({-5, 0.5f, 5}).set_requires_grad();
  backward(sum(run(*q, x)));
  CHECK(values_of(x.grad()) == std::vector<float>{1, 1, 1});
}

TEST_CASE("affine: the range is the debiased moving average of the batches' ranges") {
  const double d = 0.9;
  const auto q = make({{"decay", d}});
  double low = 0, high = 0;
  for (int t = 1; t <= 30; ++t) {
    const Tensor x = random_tensor({50}, static_cast<uint64_t>(t), t % 3 == 0 ? 0.5f : -1.0f / static_cast<float>(t),
                                   2.0f + static_cast<float>(t));
    run(*q, x, kTrain);
    low = d * low + (1 - d) * std::fmin(least(x), 0);
    high = d * high + (1 - d) * most(x);
    const double unbias = 1 - std::pow(d, t);
    const AffineRange expected = nudge(low / unbias, high / unbias, 0, 255);
    CHECK(std::get<Uniform>(q->grid()).scale[0] == doctest::Approx(expected.scale).epsilon(1e-6));
  }
  const Json before = Json(std::get<Uniform>(q->grid()).scale);
  run(*q, random_tensor({50}, 99, -100, 100));  // evaluation leaves the range alone
  CHECK(Json(std::get<Uniform>(q->grid()).scale) == before);
}

TEST_CASE("affine: during the delay values go through while the range is collected") {
  const auto q = make({{"delay", 2}, {"bits", 4}});
  const Tensor a = random_tensor({40}, 1, -1, 3), b = random_tensor({40}, 2, -1, 3);
  CHECK(same_bits(run(*q, a, kTrain), a));
  CHECK(on_grid(run(*q, b), q->grid()));  // evaluation quantizes with what was seen
  CHECK(same_bits(run(*q, b, kTrain), b));
  const Tensor y = run(*q, a, kTrain);
  CHECK_FALSE(same_bits(y, a));
  CHECK(on_grid(y, q->grid()));
  const auto without = make({{"bits", 4}});
  run(*without, a, kTrain);
  run(*without, b, kTrain);
  CHECK(same_bits(run(*without, a, kTrain), y));

  const auto weight = make({{"role", "weight"}, {"delay", 1}});
  CHECK(same_bits(run(*weight, a, kTrain), a));
  CHECK(on_grid(run(*weight, a, kTrain), weight->grid(a)));
}

TEST_CASE("affine: a range per channel, each with its own nudged zero point") {
  const auto q = make({{"role", "weight"}, {"per_channel", true}, {"channels", 5}, {"bits", 6}});
  Tensor w = random_tensor({5, 3, 3, 3}, 4);
  for (size_t i = 0; i < 135; ++i)
    w.mutable_data<float>()[i] =
        w.data<float>()[i] * static_cast<float>(i / 27 + 1) + 0.3f * static_cast<float>(i / 27);
  w.set_requires_grad();
  const Tensor y = run(*q, w, kTrain);
  backward(sum(y));
  CHECK(on_grid(y, q->grid(w)));
  for (size_t c = 0; c < 5; ++c) {
    const auto part = w.data<float>().subspan(27 * c, 27);
    const Formula expected(*std::ranges::min_element(part), *std::ranges::max_element(part), 1, 63);
    for (size_t i = 27 * c; i < 27 * (c + 1); ++i) {
      const double v = w.data<float>()[i];
      if (!expected.tie(v)) CHECK(std::abs(y.data<float>()[i] - expected.value(v)) < 2e-5 * (1 + std::abs(v)));
    }
    const auto levels = levels_of(q->grid(w), static_cast<int64_t>(c));
    CHECK(std::ranges::count(levels, 0.0f) == 1);
    CHECK(levels.size() == 63);
  }
  const auto symmetric = make({{"role", "weight"}, {"per_channel", true}, {"channels", 5}, {"symmetric", true}});
  const auto grid = std::get<Uniform>(symmetric->grid(w));
  CHECK(grid.lo == -127);
  CHECK(grid.hi == 127);
  CHECK(grid.offset == std::vector<float>{0});
  CHECK(on_grid(run(*symmetric, w), grid));
}

TEST_CASE("affine: options and state survive a round trip, after which training goes on with the same bits") {
  Graph graph(Shape{4});
  graph.add("q", {{"type", "affine"}, {"bits", 5}, {"delay", 3}, {"decay", 0.95}, {"ties", "even"}}, {"input"});
  for (uint64_t t = 0; t < 3; ++t) graph.forward(random_tensor({6, 4}, t), kTrain);
  const Graph copy = graph.clone();
  CHECK(copy.to_json() == graph.to_json());
  for (uint64_t t = 3; t < 6; ++t) {
    const Tensor x = random_tensor({6, 4}, t), y = graph.forward(x, kTrain);
    CHECK(same_bits(copy.forward(x, kTrain), y));
    CHECK_FALSE(same_bits(x, y));
  }
  CHECK(state_of(graph).size() == 2);
  CHECK(parameters_of(graph).empty());
}

TEST_CASE("affine: the bits do not depend on the number of threads") {
  const Tensor x = normal_tensor({64, 17, 61}, 5), dy = random_tensor(x.shape(), 6);
  const auto all = [&](const Json& options) {
    const auto q = make(options);
    Tensor leaf = x.clone().set_requires_grad();
    const Tensor y = run(*q, leaf, kTrain);
    backward(weighted_sum(y, dy));
    return std::pair{y, leaf.grad()};
  };
  const int before = threads();
  for (const Json& options : {Json{{"bits", 4}}, Json{{"role", "weight"}, {"per_channel", true}, {"channels", 64}}}) {
    set_threads(1);
    const auto one = all(options);
    set_threads(2);
    const auto two = all(options);
    CHECK(same_bits(one.first, two.first));
    CHECK(same_bits(one.second, two.second));
  }
  set_threads(before);
}

TEST_CASE("affine: odd inputs give finite values on a valid grid") {
  constexpr float kMost = std::numeric_limits<float>::max(), kTiny = std::numeric_limits<float>::denorm_min();
  const Tensor inputs[] = {Tensor::zeros({2, 5}),        Tensor::full({2, 3}, 3),
                           Tensor::full({2, 3}, -3),     Tensor::full({1, 1}, 0.7f),
                           Tensor::full({2, 2}, kTiny),  Tensor::from({2, 2}, std::vector<float>{-kMost, kMost, 1, 0}),
                           Tensor::full({2, 2}, -kMost), Tensor::zeros({0, 3})};
  for (const Tensor& x : inputs) {
    for (const char* role : {"weight", "act"}) {
      CAPTURE(x.shape());
      CAPTURE(role);
      const auto q = make({{"role", role}});
      for (const Pass& pass : {kTrain, Pass{}}) {
        const Tensor y = run(*q, x, pass);
        check_grid(q->grid(x), 1);
        CHECK(on_grid(y, q->grid(x)));
        for (const float v : y.data<float>()) CHECK(std::isfinite(v));
      }
    }
  }
  const auto q = make({{"role", "weight"}});
  CHECK(values_of(run(*q, inputs[0], kTrain)) == std::vector<float>(10, 0.0f));
  CHECK(run(*q, inputs[1], kTrain).data<float>()[0] == doctest::Approx(3));
}

TEST_CASE("affine: NaN, infinity and wrong options are refused, and leave the state alone") {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    for (const char* role : {"weight", "act"}) {
      for (const Mode mode : {Mode::train, Mode::eval}) {
        Graph graph(Shape{3});
        graph.add("here", {{"type", "affine"}, {"role", role}}, {"input"});
        const std::string message = message_of([&] { graph.forward(Tensor::of({1, 2, bad}), {mode}); });
        CHECK(mentions(message, {"affine 'here'", "element 2"}));
        const NamedTensor counters = state_of(graph).back();
        CHECK(counters.tensor.data<int64_t>()[0] == 0);
        CHECK(counters.tensor.data<int64_t>()[1] == 0);
      }
    }
  }
  CHECK(mentions(message_of([] { make({{"bits", 3}}); }), {"bits"}));
  CHECK(mentions(message_of([] { make({{"decay", 1}}); }), {"decay", "below 1"}));
  CHECK(mentions(message_of([] { make({{"per_channel", true}}); }), {"per_channel", "weights"}));
  const auto q = make({{"role", "weight"}, {"per_channel", true}, {"channels", 4}});
  CHECK(mentions(message_of([&] { run(*q, Tensor::zeros({3, 4})); }), {"4 channels", "[3,4]"}));
}
