#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

double quantize_k(double r, int bits) {
  const double n = (1 << bits) - 1;
  return std::nearbyint(n * r) / n;
}

/// Zhou et al., eq. 9, in double.
Doubles weight_values(const Doubles& w, int bits) {
  double m = 0;
  for (const double v : w) m = std::max(m, std::abs(std::tanh(v)));
  Doubles q;
  for (const double v : w) q.push_back(2 * quantize_k(std::tanh(v) / (2 * m) + 0.5, bits) - 1);
  return q;
}

/// With the rounding's derivative 1, q = tanh(w) / max|tanh(w)|: its gradient by central differences, the maximum
/// differentiated or not.
Doubles weight_gradients(const Doubles& w, const Doubles& g, bool detach_max) {
  const auto maximum = [](const Doubles& v) {
    double m = 0;
    for (const double x : v) m = std::max(m, std::abs(std::tanh(x)));
    return m;
  };
  const double m = maximum(w), step = 1e-6;
  Doubles result;
  for (size_t i = 0; i < w.size(); ++i) {
    double loss[2];
    for (const int side : {0, 1}) {
      Doubles moved = w;
      moved[i] += side == 1 ? step : -step;
      const double largest = detach_max ? m : maximum(moved);
      loss[side] = 0;
      for (size_t j = 0; j < w.size(); ++j) loss[side] += g[j] * std::tanh(moved[j]) / largest;
    }
    result.push_back((loss[1] - loss[0]) / (2 * step));
  }
  return result;
}

Json weight_json(int bits) { return {{"type", "dorefa"}, {"role", "weight"}, {"bits", bits}}; }
Json act_json(int bits) { return {{"type", "dorefa"}, {"bits", bits}}; }

}  // namespace

TEST_CASE("dorefa: keeps the promises of a quantizer") {
  const Tensor x = normal_tensor({6, 5, 41, 41}, 1, 0.3f, 0.6f);
  for (const int bits : {1, 2, 3, 4, 8}) {
    CAPTURE(bits);
    CHECK(broken_promise(weight_json(bits), x) == "");
    CHECK(broken_promise(act_json(bits), x) == "");
    CHECK(breaks_at_edges(weight_json(bits)) == "");
    CHECK(breaks_at_edges(act_json(bits)) == "");
    CHECK(level_count(make_quantizer(weight_json(bits))->grid(x)) == 1 << bits);
    CHECK(level_count(make_quantizer(act_json(bits))->grid()) == 1 << bits);
  }
}

TEST_CASE("dorefa: the worked example of weights") {
  const Tensor w = example_weights();
  const double a = 0.40714286;
  CHECK(compare(run_layer(weight_json(1), w), {-a, -a, -a, a, a, a, a}, 1e-7) == "");
  CHECK(compare(run_layer(weight_json(2), w), {-1, -1. / 3, -1. / 3, 1. / 3, 1. / 3, 1. / 3, 1}, 1e-7) == "");
  CHECK(compare(run_layer(weight_json(3), w), {-5. / 7, -3. / 7, -1. / 7, 1. / 7, 1. / 7, 3. / 7, 1}, 1e-7) == "");
}

TEST_CASE("dorefa: weights are eq. 9 and their gradient includes the one through the maximum") {
  const Tensor w = normal_tensor({8, 3, 3, 3}, 5, 0, 0.5f), dy = normal_tensor({8, 3, 3, 3}, 6, 0.2f);
  const Doubles v = doubles_of(w), g = doubles_of(dy);
  for (const int bits : {2, 3, 4, 5, 8})
    for (const bool detach : {false, true}) {
      CAPTURE(bits);
      CAPTURE(detach);
      Json json = weight_json(bits);
      json["detach_max"] = detach;
      const Passed passed = train_pass(*make_layer(json), w, dy);
      CHECK(compare(passed.y, weight_values(v, bits), 1e-6) == "");
      CHECK(compare(passed.dx, weight_gradients(v, g, detach), 1e-5) == "");
    }
  CHECK(compare(weight_gradients(v, g, true), weight_gradients(v, g, false), 1e-3) != "");
}

TEST_CASE("dorefa: elements that share the maximum share its gradient") {
  const Tensor w = Tensor::of({0.5f, -0.5f, 0.25f, 0.1f}), dy = Tensor::of({1, 2, 3, -4});
  const Passed passed = train_pass(*make_layer(weight_json(2)), w, dy);
  const double m = std::tanh(0.5);
  double product = 0;
  for (size_t i = 0; i < 4; ++i) product += dy.data<float>()[i] * std::tanh(double{w.data<float>()[i]});
  Doubles expected;
  for (size_t i = 0; i < 4; ++i) {
    const double t = std::tanh(double{w.data<float>()[i]});
    const double share = i < 2 ? (i == 0 ? -1 : 1) * product / (m * m) / 2 : 0;
    expected.push_back((dy.data<float>()[i] / m + share) * (1 - t * t));
  }
  CHECK(compare(passed.dx, expected, 1e-6) == "");
}

TEST_CASE("dorefa: one-bit weights pass the gradient unchanged") {
  const Tensor w = example_weights(), dy = normal_tensor({7}, 2);
  CHECK(same_bits(train_pass(*make_layer(weight_json(1)), w, dy).dx, dy));
}

TEST_CASE("dorefa: activations are rounded in [0, 1] and pass the gradient where 0 <= x <= 1") {
  const float above = std::nextafter(1.0f, 2.0f), below = -std::numeric_limits<float>::denorm_min();
  for (int bits = 1; bits <= 8; ++bits) {
    CAPTURE(bits);
    Tensor x = random_tensor({1000}, 3, -0.5f, 1.5f);
    const std::vector<float> edges{0, 1, 0.5f, above, below, 0.25f, 0.75f};
    std::copy(edges.begin(), edges.end(), x.mutable_data<float>().begin());
    const Tensor dy = normal_tensor({1000}, 4);
    const Passed passed = train_pass(*make_layer(act_json(bits)), x, dy);
    Doubles y, dx;
    for (size_t i = 0; i < 1000; ++i) {
      const double v = x.data<float>()[i];
      y.push_back(quantize_k(std::clamp(v, 0.0, 1.0), bits));
      dx.push_back(v >= 0 && v <= 1 ? dy.data<float>()[i] : 0);
    }
    CHECK(compare(passed.y, y, 1e-6) == "");
    CHECK(compare(passed.dx, dx, 0) == "");
  }
}

TEST_CASE("dorefa: with a clip at c, c times the quantized x / c, and the gradient passes up to c") {
  constexpr double kClip = 3;
  const Tensor x = random_tensor({1000}, 5, -0.5f, 4.5f), dy = normal_tensor({1000}, 6);
  Json options = act_json(4);
  options["clip"] = kClip;
  const Passed passed = train_pass(*make_layer(options), x, dy);
  Doubles y, dx;
  for (size_t i = 0; i < 1000; ++i) {
    const double v = x.data<float>()[i];
    y.push_back(kClip * quantize_k(std::clamp(v / kClip, 0.0, 1.0), 4));
    dx.push_back(v >= 0 && v <= kClip ? dy.data<float>()[i] : 0);
  }
  CHECK(compare(passed.y, y, 1e-6) == "");
  CHECK(compare(passed.dx, dx, 0) == "");
}

TEST_CASE("dorefa: weights that are all zero still take a gradient") {
  const Tensor dy = Tensor::of({1, -2});
  CHECK(same_bits(train_pass(*make_layer(weight_json(4)), Tensor::zeros({2}), dy).dx, dy));
}
