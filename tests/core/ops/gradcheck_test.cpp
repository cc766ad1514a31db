#include "tests/support/gradcheck.h"

#include "core/ops.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// x^2 with a gradient of our choice.
Tensor square(const Tensor& x, float factor) {
  Tensor y = Tensor::empty_like(x);
  for (size_t i = 0; i < y.data<float>().size(); ++i)
    y.mutable_data<float>()[i] = x.data<float>()[i] * x.data<float>()[i];
  return record("square", y, {x}, [=](const Tensor& dy) -> Grads {
    Tensor dx = dy.clone();
    for (size_t i = 0; i < dx.data<float>().size(); ++i) dx.mutable_data<float>()[i] *= factor * x.data<float>()[i];
    return {dx};
  });
}

Doubles squares(const std::vector<Doubles>& in) {
  Doubles out = in[0];
  for (double& v : out) v *= v;
  return out;
}

}  // namespace

TEST_CASE("gradcheck: accepts a right gradient and points at a wrong one, a wrong output and a missing gradient") {
  const std::vector<Tensor> x = {random_tensor({3, 4}, 1)};
  CHECK(gradcheck([](const std::vector<Tensor>& in) { return square(in[0], 2); }, squares, x) == "");
  const auto wrong = gradcheck([](const std::vector<Tensor>& in) { return square(in[0], 2.001f); }, squares, x);
  CHECK(wrong.find("gradient of input 0, element 0") == 0);
  const auto off = [](const std::vector<Tensor>& in) { return scale(square(in[0], 2), 1.001f); };
  CHECK(gradcheck(off, squares, x).find("forward") == 0);
  const auto first = [](const std::vector<Tensor>& in) { return square(in[0], 2); };
  CHECK(gradcheck(first, squares, {x[0], x[0]}) == "input 1 got no gradient");
}
