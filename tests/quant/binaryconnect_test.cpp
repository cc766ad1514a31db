#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {
const Json kPlain{{"type", "binaryconnect"}}, kRandom{{"type", "binaryconnect"}, {"stochastic", true}};
}

TEST_CASE("binaryconnect: keeps the promises of a quantizer") {
  const Tensor w = normal_tensor({6, 5, 41, 41}, 1, 0, 0.6f);
  CHECK(broken_promise(kPlain, w) == "");
  CHECK(broken_promise(kRandom, w, false) == "");
  CHECK(breaks_at_edges(kPlain) == "");
  CHECK(breaks_at_edges(kRandom, false) == "");
}

TEST_CASE("binaryconnect: levels are -H and H by sign, zero goes up, and the gradient passes unchanged") {
  const Tensor w = example_weights(), dy = normal_tensor({7}, 2);
  const auto q = make_quantizer({{"type", "binaryconnect"}, {"bound", 0.5}});
  const Passed passed = train_pass(*q, w, dy);
  CHECK(values_of(passed.y) == std::vector<float>{-0.5f, -0.5f, -0.5f, 0.5f, 0.5f, 0.5f, 0.5f});
  CHECK(same_bits(passed.dx, dy));
  const float tiny = std::numeric_limits<float>::denorm_min();
  const Tensor edge = Tensor::of({-tiny, -0.0f, tiny});
  CHECK(values_of(q->forward({&edge, 1}, {})) == std::vector<float>{-0.5f, 0.5f, 0.5f});
}

TEST_CASE("binaryconnect: after an update the weights are clamped to H") {
  const Tensor w = example_weights();
  make_quantizer({{"type", "binaryconnect"}, {"bound", 0.35}})->constrain(w);
  CHECK(values_of(w) == std::vector<float>{-0.35f, -0.3f, -0.05f, 0, 0.1f, 0.35f, 0.35f});
}

TEST_CASE("binaryconnect: the chance of +H is the hard sigmoid, drawn afresh in every pass") {
  const auto q = make_quantizer({{"type", "binaryconnect"}, {"stochastic", true}, {"bound", 2.0}});
  Rng rng(7);
  for (const float v : {-2.5f, -2.0f, -1.0f, 0.0f, 0.5f, 2.0f, 3.0f}) {
    const Tensor w = Tensor::full({20000}, v), dy = Tensor::full({20000}, 0.5f);
    const Passed first = train_pass(*q, w, dy, &rng), second = train_pass(*q, w, dy, &rng);
    CHECK(same_bits(first.dx, dy));
    double up = 0;
    for (const float y : first.y.data<float>()) {
      REQUIRE(std::abs(y) == 2.0f);
      up += y > 0;
    }
    const double chance = std::clamp((v / 2.0 + 1) / 2, 0.0, 1.0);
    CHECK(up / 20000 == doctest::Approx(chance).epsilon(0.02));
    CHECK(same_bits(first.y, second.y) == (chance == 0 || chance == 1));
  }
}

TEST_CASE("binaryconnect: the stochastic variant evaluates with real weights and needs random numbers to train") {
  const auto q = make_quantizer(kRandom);
  const Tensor w = example_weights();
  CHECK(same_bits(q->forward({&w, 1}, {}), w));
  CHECK(std::holds_alternative<Real>(q->grid(w)));
  CHECK(mentions(message_of([&] { q->forward({&w, 1}, {Mode::train}); }), {"binaryconnect", "random generator"}));
}

TEST_CASE("binaryconnect: activations are refused") {
  CHECK(mentions(message_of([] { make_layer({{"type", "binaryconnect"}, {"role", "act"}}); }), {"role", "weight"}));
}
