#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

TEST_CASE("bnn: keeps the promises of a quantizer") {
  const Tensor x = normal_tensor({6, 5, 41, 41}, 1);
  for (const Json& json : {Json{{"type", "bnn"}}, Json{{"type", "bnn"}, {"role", "weight"}}}) {
    CHECK(broken_promise(json, x) == "");
    CHECK(breaks_at_edges(json) == "");
  }
  const Json random{{"type", "bnn"}, {"stochastic", true}};
  CHECK(broken_promise(random, x) == "");
  CHECK(breaks_at_edges(random) == "");
}

TEST_CASE("bnn: activations are signs, and the gradient passes where |x| <= 1") {
  const Tensor x = Tensor::of({-1.001f, -1.0f, -0.2f, -0.0f, 0.0f, 0.7f, 1.0f, 1.5f}), dy = normal_tensor({8}, 2);
  const Passed passed = train_pass(*make_layer({{"type", "bnn"}}), x, dy);
  Doubles y, dx;
  for (size_t i = 0; i < 8; ++i) {
    const double v = x.data<float>()[i];
    y.push_back(sign_of(v));
    dx.push_back(std::abs(v) <= 1 ? dy.data<float>()[i] : 0);
  }
  CHECK(compare(passed.y, y, 0) == "");
  CHECK(compare(passed.dx, dx, 0) == "");
}

TEST_CASE("bnn: the grid's own rounding is the sign, zeros and the smallest numbers included") {
  const float tiny = std::numeric_limits<float>::denorm_min();
  const Tensor x = Tensor::of({-3, -tiny, -0.0f, 0.0f, tiny, 3});
  const auto q = make_quantizer({{"type", "bnn"}});
  CHECK(values_of(snap(x, q->grid())) == std::vector<float>{-1, -1, 1, 1, 1, 1});
  CHECK(values_of(q->forward({&x, 1}, {})) == std::vector<float>{-1, -1, 1, 1, 1, 1});
}

TEST_CASE("bnn: weights are signs, the gradient passes everywhere, and updates are clamped to 1") {
  const auto q = make_quantizer({{"type", "bnn"}, {"role", "weight"}});
  const Tensor w = example_weights(), dy = normal_tensor({7}, 3);
  const Passed passed = train_pass(*q, w, dy);
  CHECK(values_of(passed.y) == std::vector<float>{-1, -1, -1, 1, 1, 1, 1});
  CHECK(same_bits(passed.dx, dy));
  q->constrain(w);
  CHECK(values_of(w) == std::vector<float>{-0.8f, -0.3f, -0.05f, 0, 0.1f, 0.4f, 1});
}

TEST_CASE("bnn: another backward rule replaces the paper's") {
  const auto q = make_layer({{"type", "bnn"}, {"backward", "bireal"}});
  const Passed passed = train_pass(*q, Tensor::of({-0.25f, 2}), Tensor::of({3, 3}));
  CHECK(values_of(passed.dx) == std::vector<float>{4.5f, 0});
}

TEST_CASE("bnn: stochastic activations are drawn in training only") {
  const auto q = make_layer({{"type", "bnn"}, {"stochastic", true}});
  const Tensor x = Tensor::full({20000}, 0.5f);
  Rng rng(1);
  double up = 0;
  for (const float y : q->forward({&x, 1}, {Mode::train, &rng}).data<float>()) up += y > 0;
  CHECK(up / 20000 == doctest::Approx(0.75).epsilon(0.02));
  const Tensor signs = q->forward({&x, 1}, {});
  for (const float y : signs.data<float>()) REQUIRE(y == 1.0f);
  CHECK(mentions(message_of([&] { q->forward({&x, 1}, {Mode::train}); }), {"bnn", "random generator"}));
  CHECK(mentions(message_of([] {
                   make_layer({{"type", "bnn"}, {"role", "weight"}, {"stochastic", true}});
                 }),
                 {"activations"}));
}
