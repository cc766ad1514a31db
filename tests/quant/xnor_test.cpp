#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

TEST_CASE("xnor: keeps the promises of a quantizer") {
  const Tensor x = normal_tensor({6, 5, 41, 41}, 1);
  for (const Json& json : {Json{{"type", "xnor"}}, Json{{"type", "xnor"}, {"role", "weight"}},
                           Json{{"type", "xnor"}, {"role", "weight"}, {"gradient", "code"}}}) {
    CHECK(broken_promise(json, x) == "");
    CHECK(breaks_at_edges(json) == "");
  }
}

TEST_CASE("xnor: activations are signs, and the gradient passes where |x| <= 1") {
  const Tensor x = Tensor::of({-2, -1, -0.5f, 0, 0.5f, 1, 2}), dy = Tensor::of({1, 2, 3, 4, 5, 6, 7});
  const Passed passed = train_pass(*make_layer({{"type", "xnor"}}), x, dy);
  CHECK(values_of(passed.y) == std::vector<float>{-1, -1, -1, 1, 1, 1, 1});
  CHECK(values_of(passed.dx) == std::vector<float>{0, 2, 3, 4, 5, 6, 0});
}

TEST_CASE("xnor: the weight's gradient is 1/n + alpha inside (-1, 1) and 1/n outside") {
  const Tensor w = Tensor::from({2, 4}, {0.5f, -0.25f, 1.0f, -2.0f, 0.125f, 0, -0.125f, 0.25f});
  const Tensor dy = Tensor::from({2, 4}, {1, -2, 3, 4, 5, 6, 7, -8});
  const auto q = make_quantizer({{"type", "xnor"}, {"role", "weight"}});
  const Passed passed = train_pass(*q, w, dy);
  const double a = 3.75 / 4, b = 0.5 / 4;
  CHECK(compare(passed.y, {a, -a, a, -a, b, b, -b, b}, 1e-7) == "");
  const double in_a = 0.25 + a, in_b = 0.25 + b;
  CHECK(compare(passed.dx, {in_a, -2 * in_a, 0.75, 1, 5 * in_b, 6 * in_b, 7 * in_b, -8 * in_b}, 1e-7) == "");
}

TEST_CASE("xnor: only weights are centred and clamped, unless told not to") {
  const Tensor w = Tensor::from({1, 2}, {3, -5});
  make_quantizer({{"type", "xnor"}})->constrain(w);
  CHECK(values_of(w) == std::vector<float>{3, -5});
  const Tensor centred = w.clone(), clamped = w.clone();
  make_quantizer({{"type", "xnor"}, {"role", "weight"}, {"clamp", false}})->constrain(centred);
  CHECK(values_of(centred) == std::vector<float>{4, -4});
  make_quantizer({{"type", "xnor"}, {"role", "weight"}, {"center", false}})->constrain(clamped);
  CHECK(values_of(clamped) == std::vector<float>{1, -1});
}
