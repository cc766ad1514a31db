#include <cmath>
#include <limits>

#include "core/allocator.h"
#include "core/ops.h"
#include "core/parallel.h"
#include "tests/support/gradcheck.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Reference each(double (*f)(double)) {
  return [f](const std::vector<Doubles>& in) {
    Doubles out = in[0];
    for (double& v : out) v = f(v);
    return out;
  };
}

}  // namespace

TEST_CASE("relu: max(x, 0), and the gradient passes where x is positive") {
  const auto op = [](const std::vector<Tensor>& in) { return relu(in[0]); };
  const auto reference = each([](double v) { return v > 0 ? v : 0; });
  for (const int64_t n : {1, 3, 7, 18, 37, 64, 131}) {
    CAPTURE(n);
    CHECK(gradcheck(op, reference, {distinct_tensor({2, n}, 1)}) == "");
  }
}

TEST_CASE("relu: zero has no gradient, NaN stays NaN") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Tensor x = Tensor::of({0.0f, nan, -1.0f, 2.0f, -INFINITY, INFINITY}).set_requires_grad();
  const Tensor y = relu(x);
  CHECK(std::isnan(y.data<float>()[1]));
  CHECK(y.data<float>()[4] == 0);
  CHECK(y.data<float>()[5] == INFINITY);
  backward(sum(y));
  CHECK(x.grad().data<float>()[0] == 0);
  CHECK(x.grad().data<float>()[2] == 0);
  CHECK(x.grad().data<float>()[3] == 1);
}

TEST_CASE("relu6: clamps to [0, 6], and the gradient passes inside") {
  const auto op = [](const std::vector<Tensor>& in) { return relu6(in[0]); };
  const auto reference = each([](double v) { return v < 0 ? 0 : v > 6 ? 6 : v; });
  CHECK(gradcheck(op, reference, {distinct_tensor({4, 9}, 2, 0.5f)}) == "");
  Tensor x = Tensor::of({0.0f, 6.0f, 5.5f}).set_requires_grad();
  backward(sum(relu6(x)));
  CHECK(values_of(x.grad()) == std::vector<float>{0, 0, 1});
}

TEST_CASE("add: sums two tensors of equal shape and gives both the gradient") {
  const auto op = [](const std::vector<Tensor>& in) { return add(in[0], in[1]); };
  const auto reference = [](const std::vector<Doubles>& in) {
    Doubles out = in[0];
    for (size_t i = 0; i < out.size(); ++i) out[i] += in[1][i];
    return out;
  };
  CHECK(gradcheck(op, reference, {random_tensor({2, 3, 5, 7}, 1), random_tensor({2, 3, 5, 7}, 2)}) == "");
  CHECK_THROWS_WITH_AS(add(Tensor::zeros({2, 3}), Tensor::zeros({3, 2})), "add: shapes differ: [2,3] and [3,2]", Error);
}

TEST_CASE("add: the same tensor twice gets twice the gradient") {
  Tensor x = Tensor::of({1.0f, 2.0f}).set_requires_grad();
  backward(sum(add(x, x)));
  CHECK(values_of(x.grad()) == std::vector<float>{2, 2});
}

TEST_CASE("a gradient shared by two branches is not overwritten by one of them") {
  // add hands the same dy to both of its inputs; relu and scale would like to work in place.
  Tensor a = Tensor::of({1.0f, -1.0f, 2.0f}).set_requires_grad();
  Tensor b = Tensor::of({-1.0f, 1.0f, 2.0f}).set_requires_grad();
  backward(sum(add(scale(relu(a), 3), relu(scale(b, 2)))));
  CHECK(values_of(a.grad()) == std::vector<float>{3, 0, 3});
  CHECK(values_of(b.grad()) == std::vector<float>{0, 2, 2});
}

TEST_CASE("the tape keeps what backward needs of an activation and no more") {
  const Shape shape{64, 1024};
  const auto bytes = static_cast<int64_t>(Tensor::empty(shape).bytes());
  Tensor x = random_tensor(shape, 1).set_requires_grad();
  const int64_t before = allocator_stats().bytes_in_use;
  Tensor y = x;
  for (int i = 0; i < 8; ++i) y = scale(add(y, y), 0.5f);
  CHECK(allocator_stats().bytes_in_use - before < 2 * bytes);
  for (int i = 0; i < 8; ++i) y = relu(scale(y, 2));
  CHECK(allocator_stats().bytes_in_use - before < 10 * bytes);
  backward(sum(y));
  CHECK(x.grad().defined());
}

TEST_CASE("scale: multiplies by a constant") {
  const auto op = [](const std::vector<Tensor>& in) { return scale(in[0], -2.5f); };
  CHECK(gradcheck(op, each([](double v) { return -2.5 * v; }), {random_tensor({3, 11}, 4)}) == "");
}

TEST_CASE("pointwise ops refuse integers and undefined tensors, naming themselves") {
  CHECK_THROWS_WITH_AS(relu(Tensor::zeros({2}, DType::i32)), "relu: expects f32, got i32[2]", Error);
  CHECK_THROWS_WITH_AS(relu6(Tensor{}), "relu6: the input is undefined", Error);
  CHECK_THROWS_AS(scale(Tensor::zeros({2}, DType::u8), 2), Error);
}

TEST_CASE("sum and mean accumulate in double") {
  const auto total = [](const std::vector<Doubles>& in) {
    double t = 0;
    for (const double v : in[0]) t += v;
    return Doubles{t};
  };
  CHECK(gradcheck([](const std::vector<Tensor>& in) { return sum(in[0]); }, total, {random_tensor({3, 5}, 1)}) == "");
  CHECK(gradcheck([](const std::vector<Tensor>& in) { return mean(in[0]); },
                  [&](const std::vector<Doubles>& in) { return Doubles{total(in)[0] / 15}; },
                  {random_tensor({3, 5}, 2)}) == "");
  // In f32 the small ones would vanish beside 2^24.
  Tensor x = Tensor::full({10001}, 1.0f);
  x.mutable_data<float>()[0] = 0x1p24f;
  CHECK(sum(x).item() == 0x1p24f + 10000);
  CHECK(sum(Tensor::zeros({0, 3})).item() == 0);
  CHECK_THROWS_AS(mean(Tensor::zeros({0, 3})), Error);
}

TEST_CASE("sum: same bits with any number of threads") {
  const Tensor x = random_tensor({300, 1001}, 5);
  const int before = threads();
  set_threads(1);
  const Tensor one = sum(x);
  for (const int n : {2, 3, 7}) {
    set_threads(n);
    CHECK(same_bits(sum(x), one));
  }
  set_threads(before);
}
