#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Json pact(double alpha, int bits) { return {{"type", "pact"}, {"alpha", alpha}, {"bits", bits}}; }

}  // namespace

TEST_CASE("pact: keeps the promises of a quantizer") {
  const Tensor x = normal_tensor({6, 5, 41, 41}, 1);
  for (const Json& json :
       {pact(10, 4), pact(1.3, 2), pact(0, 4), pact(0, 8), Json{{"type", "pact"}, {"role", "weight"}, {"bits", 2}}}) {
    CHECK(broken_promise(json, x) == "");
    CHECK(breaks_at_edges(json) == "");
  }
}

TEST_CASE("pact: the worked example") {
  const Tensor x = Tensor::of({-1, 0.2f, 0.3f, 0.74f, 0.76f, 1.2f, 1.5f, 3}), dy = normal_tensor({8}, 2);
  const Passed passed = train_pass(*make_layer(pact(1.5, 2)), x, dy);
  CHECK(values_of(passed.y) == std::vector<float>{0, 0, 0.5f, 0.5f, 1, 1, 1.5f, 1.5f});
  const Doubles g = doubles_of(dy);
  CHECK(compare(passed.dx, {0, g[1], g[2], g[3], g[4], g[5], 0, 0}, 0) == "");
  CHECK(passed.gradients.at("alpha").item() == doctest::Approx(g[6] + g[7]));
}

TEST_CASE("pact: values and gradients are eq. 1 to 3 for any alpha, the ends included") {
  for (const int bits : {1, 2, 3, 4, 5, 8})
    for (const float alpha : {0.1f, 1.0f, 1.7f, 6.3f, 10.0f}) {
      CAPTURE(bits);
      CAPTURE(alpha);
      Tensor x = random_tensor({2000}, 3, -0.5f * alpha, 1.5f * alpha);
      const std::vector<float> edges{alpha, std::nextafter(alpha, 0.0f), 0, alpha / 2, -0.0f};
      std::copy(edges.begin(), edges.end(), x.mutable_data<float>().begin());
      const Tensor dy = normal_tensor({2000}, 4, 0.1f);
      const Passed passed = train_pass(*make_layer(pact(alpha, bits)), x, dy);
      const double n = (1 << bits) - 1, a = alpha;
      Doubles y, dx;
      double dalpha = 0;
      for (size_t i = 0; i < 2000; ++i) {
        const double v = x.data<float>()[i], g = dy.data<float>()[i];
        y.push_back(std::nearbyint(std::clamp(v, 0.0, a) * n / a) * a / n);
        dx.push_back(v >= 0 && v < a ? g : 0);
        dalpha += v >= a ? g : 0;
      }
      CHECK(compare(passed.y, y, 1e-6) == "");
      CHECK(compare(passed.dx, dx, 0) == "");
      CHECK(passed.gradients.at("alpha").item() == doctest::Approx(dalpha));
    }
}

TEST_CASE("pact: alpha starts at 10, has weight decay, or starts from the first training tensor only") {
  const auto fixed = make_layer({{"type", "pact"}});
  CHECK(States(*fixed).all.at("alpha").item() == 10);
  CHECK(States(*fixed).traits.at("alpha").decay);

  const auto q = make_layer(pact(0, 4));
  const Tensor x = normal_tensor({3000}, 1), other = normal_tensor({3000}, 2, 0, 9), dy = normal_tensor({3000}, 3);
  q->forward({&other, 1}, {});
  train_pass(*q, x, dy);
  double squares = 0, largest = 0;
  for (const double v : doubles_of(x)) {
    squares += v * v / 3000;
    largest = std::max(largest, v);
  }
  const float alpha = States(*q).all.at("alpha").item();
  CHECK(alpha == doctest::Approx(std::min(largest, 4 * std::sqrt(squares))));
  train_pass(*q, other, dy);
  CHECK(States(*q).all.at("alpha").item() == alpha);
  const auto restored = make_layer(pact(0, 4));
  const States from(*q), to(*restored);
  for (const auto& [name, tensor] : from.all) to.all.at(name).copy_from(tensor);
  train_pass(*restored, other, dy);
  CHECK(to.all.at("alpha").item() == alpha);
}

TEST_CASE("pact: alpha never falls below 1e-3 nor leaves the finite numbers, and this is counted") {
  const auto q = make_layer(pact(2, 4));
  const States states(*q);
  const Tensor x = normal_tensor({10}, 1), alpha = states.all.at("alpha");
  const auto update_to = [&](float value) {
    train_pass(*q, x, x);
    alpha.mutable_data<float>()[0] = value;
    q->after_update();
    return alpha.item();
  };
  CHECK(update_to(1.5f) == 1.5f);
  CHECK(states.all.at("state").data<int64_t>()[1] == 0);
  CHECK(update_to(std::numeric_limits<float>::quiet_NaN()) == 1.5f);
  CHECK(update_to(std::numeric_limits<float>::infinity()) == 1.5f);
  CHECK(update_to(-4) == 1e-3f);
  CHECK(update_to(0) == 1e-3f);
  CHECK(states.all.at("state").data<int64_t>()[1] == 4);
  CHECK(off_grid(q->forward({&x, 1}, {}), std::dynamic_pointer_cast<Quantizer>(q)->grid()) == "");
}

TEST_CASE("pact: weights are those of dorefa") {
  const Tensor w = normal_tensor({4, 9}, 1), dy = normal_tensor({4, 9}, 2);
  const Passed a = train_pass(*make_layer({{"type", "pact"}, {"role", "weight"}, {"bits", 3}}), w, dy);
  const Passed b = train_pass(*make_layer({{"type", "dorefa"}, {"role", "weight"}, {"bits", 3}}), w, dy);
  CHECK(same_bits(a.y, b.y));
  CHECK(same_bits(a.dx, b.dx));
}
