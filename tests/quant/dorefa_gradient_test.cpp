#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Passed pass_gradient(int bits, const Tensor& dy, uint64_t seed = 1) {
  Rng rng(seed);
  return train_pass(*make_layer({{"type", "dorefa_gradient"}, {"bits", bits}}), Tensor::zeros(dy.shape()), dy, &rng);
}

}  // namespace

TEST_CASE("dorefa_gradient: forwards it is the identity, in training and in evaluation") {
  const Tensor x = normal_tensor({3, 4}, 1);
  const auto layer = make_layer({{"type", "dorefa_gradient"}});
  Rng rng(1);
  CHECK(same_bits(layer->forward({&x, 1}, {}), x));
  CHECK(same_bits(layer->forward({&x, 1}, {Mode::train, &rng}), x));
  CHECK(make_layer({{"type", "dorefa_gradient"}, {"bits", 3}})->config() == Json{{"bits", 3}});
}

TEST_CASE("dorefa_gradient: every element is one of the two nearest of 2^k levels of its own sample") {
  const Tensor dy = normal_tensor({4, 1500}, 3);
  for (float& v : dy.mutable_data<float>().subspan(0, 1500)) v *= 100;
  for (const int bits : {1, 2, 4, 6}) {
    CAPTURE(bits);
    const double n = (1 << bits) - 1;
    const Tensor dx = pass_gradient(bits, dy).dx;
    for (size_t s = 0; s < 4; ++s) {
      double m = 0;
      for (size_t i = s * 1500; i < (s + 1) * 1500; ++i) m = std::max(m, std::abs(double{dy.data<float>()[i]}));
      for (size_t i = s * 1500; i < (s + 1) * 1500; ++i) {
        const double code = (dx.data<float>()[i] / (2 * m) + 0.5) * n,
                     exact = (dy.data<float>()[i] / (2 * m) + 0.5) * n;
        REQUIRE(std::abs(code - std::nearbyint(code)) < 1e-4);
        REQUIRE(std::abs(code - exact) < 1 + 1e-4);
      }
    }
  }
}

TEST_CASE("dorefa_gradient: the noise makes it right on average, and differs from pass to pass") {
  constexpr int kCopies = 40000;
  const std::vector<float> values{1, 0.77f, 0.3f, -0.1f, -0.6f, -0.95f};
  for (const float v : values) {
    const Tensor dy = Tensor::full({1, kCopies}, v);
    dy.mutable_data<float>()[0] = 1;  // the sample's largest
    const Tensor dx = pass_gradient(2, dy).dx;
    double mean = 0;
    for (const float d : dx.data<float>()) mean += d / kCopies;
    CHECK(mean == doctest::Approx(v).epsilon(0.02));
  }
  const Tensor dy = normal_tensor({2, 100}, 5);
  CHECK_FALSE(same_bits(pass_gradient(2, dy, 1).dx, pass_gradient(2, dy, 2).dx));
  CHECK(same_bits(pass_gradient(2, dy, 1).dx, pass_gradient(2, dy, 1).dx));
  Rng rng(1);
  const auto layer = make_layer({{"type", "dorefa_gradient"}, {"bits", 2}});
  const Tensor first = train_pass(*layer, dy, dy, &rng).dx;
  CHECK_FALSE(same_bits(first, train_pass(*layer, dy, dy, &rng).dx));
}

TEST_CASE("dorefa_gradient: a sample without gradient stays without") {
  const Tensor dy = Tensor::from({2, 2}, {0, 0, 1, -1});
  CHECK(values_of(pass_gradient(4, dy).dx) == std::vector<float>{0, 0, 1, -1});
}

TEST_CASE("dorefa_gradient: refuses to train without random numbers, and gradients that are not finite") {
  const Tensor x = Tensor::zeros({2, 2});
  const auto layer = make_layer({{"type", "dorefa_gradient"}});
  CHECK(mentions(message_of([&] { layer->forward({&x, 1}, {Mode::train}); }), {"dorefa_gradient", "random generator"}));
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    CHECK(mentions(message_of([&] { pass_gradient(4, Tensor::from({1, 2}, {bad, 1})); }), {"dorefa_gradient"}));
  const Tensor huge = Tensor::from({1, 2}, {std::numeric_limits<float>::max(), -std::numeric_limits<float>::max()});
  CHECK(same_bits(pass_gradient(4, huge).dx, huge));
}

TEST_CASE("dorefa_gradient: the bits do not depend on the number of threads") {
  CHECK(thread_difference({{"type", "dorefa_gradient"}}, normal_tensor({5, 9001}, 2)) == "");
}
