#include "core/ops.h"
#include "core/parallel.h"
#include "tests/support/gradcheck.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::test;

TEST_CASE("dropout: element i lives if number position + i is at least p, and is scaled by 1 / (1 - p)") {
  Rng rng(7, 3);
  rng.set_position(13);
  const Tensor x = random_tensor({5, 67}, 1, 1, 2), y = dropout(x, 0.3f, rng);
  CHECK(rng.position() == 13 + 335);
  const Rng source(7, 3);
  for (size_t i = 0; i < 335; ++i) {
    const bool keep = source.uniform(13 + i) >= 0.3f;
    CHECK(y.data<float>()[i] == (keep ? x.data<float>()[i] * (1 / (1 - 0.3f)) : 0));
  }
}

TEST_CASE("dropout: the gradient goes through the same mask, though the generator has moved on") {
  Rng rng(1);
  Tensor x = Tensor::full({1000}, 2.0f).set_requires_grad();
  const Tensor y = dropout(x, 0.5f, rng);
  dropout(x, 0.5f, rng);
  backward(sum(y));
  for (size_t i = 0; i < 1000; ++i) CHECK(x.grad().data<float>()[i] == y.data<float>()[i] / 2);
}

TEST_CASE("dropout: drops about p of the elements, none at 0, all at 1") {
  Rng rng(2);
  const Tensor x = Tensor::full({100000}, 1.0f);
  CHECK(mean(dropout(x, 0.2f, rng)).item() == doctest::Approx(1).epsilon(0.01));
  CHECK(same_bits(dropout(x, 0, rng), x));
  CHECK(sum(dropout(x, 1, rng)).item() == 0);
  CHECK_THROWS_AS(dropout(x, -0.1f, rng), Error);
  CHECK_THROWS_AS(dropout(x, 1.5f, rng), Error);
}

TEST_CASE("dropout: same bits with any number of threads") {
  const Tensor x = random_tensor({100003}, 1);
  const int before = threads();
  set_threads(1);
  Rng first(5);
  const Tensor one = dropout(x, 0.4f, first);
  set_threads(3);
  Rng second(5);
  CHECK(same_bits(dropout(x, 0.4f, second), one));
  set_threads(before);
}
