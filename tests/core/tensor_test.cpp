#include "core/tensor.h"

#include <cstdint>

#include "core/allocator.h"
#include "core/ops.h"
#include "core/parallel.h"
#include "core/tape.h"
#include "third_party/doctest.h"

using namespace nibble;

namespace {

Tensor multiply(const Tensor& a, const Tensor& b) {
  Tensor y = Tensor::empty_like(a);
  for (int64_t i = 0; i < a.numel(); ++i) {
    y.mutable_data<float>()[static_cast<size_t>(i)] =
        a.data<float>()[static_cast<size_t>(i)] * b.data<float>()[static_cast<size_t>(i)];
  }
  return record("multiply", y, {a, b}, [a, b](const Tensor& dy) -> Grads {
    return {multiply(dy, b), multiply(dy, a)};
  });
}

Tensor same(const Tensor& x) {
  return record("same", x.clone(), {x}, [](const Tensor& dy) -> Grads { return {dy}; });
}

}  // namespace

TEST_CASE("tensor: copies share storage, clones do not, and storage is aligned to 64 bytes") {
  Tensor a = Tensor::of({1, 2, 3});
  const Tensor b = a, c = a.clone();
  a.mutable_data<float>()[0] = 9;
  CHECK(b.data<float>()[0] == 9);
  CHECK(c.data<float>()[0] == 1);
  CHECK(reinterpret_cast<uintptr_t>(a.raw()) % 64 == 0);
  CHECK(a.view({3, 1}).shape() == Shape{3, 1});
  CHECK(a.dim(-1) == 3);
}

TEST_CASE("tensor: misuse is an error that says what was expected and found") {
  const Tensor a = Tensor::of({1, 2, 3});
  CHECK_THROWS_WITH_AS(a.data<int32_t>(), doctest::Contains("expected i32 elements, has f32"), Error);
  CHECK_THROWS_AS(a.item(), Error);
  CHECK_THROWS_AS(a.dim(1), Error);
  CHECK_THROWS_AS(a.view({2, 2}), Error);
  CHECK_THROWS_AS(Tensor().shape(), Error);
  CHECK_THROWS_AS(Tensor::from({2, 2}, {1.f, 2.f}), Error);
  CHECK_THROWS_AS((Shape{-1, 2}), Error);
  CHECK_THROWS_AS((Shape{int64_t{1} << 40, int64_t{1} << 40}), Error);
}

TEST_CASE("tape: gradients of shared inputs add up, in leaves and on the way") {
  Tensor x = Tensor::of({2, -3}).set_requires_grad();
  const Tensor y = multiply(x, x);
  const Tensor z = multiply(y, same(y));  // x^4 element by element
  const Tensor ones = Tensor::of({1, 1});
  Tensor total = Tensor::scalar(z.data<float>()[0] + z.data<float>()[1]);
  total = record("total", total, {z}, [ones](const Tensor&) -> Grads { return {ones}; });
  backward(total);
  CHECK(x.grad().data<float>()[0] == 4 * 8);
  CHECK(x.grad().data<float>()[1] == 4 * -27);
  CHECK(ones.data<float>()[0] == 1);  // a gradient that a closure keeps is never overwritten
}

TEST_CASE("tape: a second backward through the same ops is refused, and gradients accumulate over two graphs") {
  Tensor x = Tensor::scalar(3).set_requires_grad();
  const Tensor y = multiply(x, x);
  backward(y);
  CHECK_THROWS_WITH_AS(backward(y), doctest::Contains("run backwards already"), Error);
  backward(multiply(x, x));
  CHECK(x.grad().item() == 12);
}

TEST_CASE("tape: an op with two outputs runs backwards once, with the gradients of those that were used") {
  const auto split = [](const Tensor& x) {
    const Tensor first = Tensor::scalar(2 * x.item()), second = Tensor::scalar(5 * x.item());
    record_pair("split", first, second, {x}, [](const Tensor& dfirst, const Tensor& dsecond) -> Grads {
      const float one = dfirst.defined() ? dfirst.item() : 0, other = dsecond.defined() ? dsecond.item() : 0;
      return {Tensor::scalar(2 * one + 5 * other)};
    });
    return std::pair{first, second};
  };
  for (const auto& [both, expected] : {std::pair{0, 2.0f}, {1, 5.0f}, {2, 2 * 5 * 2 * 3.0f + 5.0f}}) {
    Tensor x = Tensor::scalar(3).set_requires_grad();
    const auto [first, second] = split(x);
    // first, second, or first * second + second, where second gets two gradients.
    const Tensor loss = both == 0 ? first : both == 1 ? second : add(multiply(first, second), second);
    int runs = 0;
    backward(loss, [&](std::string_view name, const Tensor&) { runs += name == "split"; });
    CHECK(x.grad().item() == expected);
    CHECK(runs == (both == 2 ? 2 : 1));  // one call for every gradient
    CHECK_THROWS_WITH_AS(backward(loss), doctest::Contains("run backwards already"), Error);
  }
  const auto [first, second] = split(Tensor::scalar(3));
  CHECK(first.node() == nullptr);
  CHECK(second.node() == nullptr);
}

TEST_CASE("tape: nothing is recorded without need") {
  Tensor x = Tensor::scalar(3);
  CHECK(multiply(x, x).node() == nullptr);
  x.set_requires_grad();
  {
    const NoRecord off;
    CHECK(multiply(x, x).node() == nullptr);
    CHECK_FALSE(would_record({x}));
  }
  CHECK(would_record({x}));
  CHECK(multiply(x.detach(), x.detach()).node() == nullptr);
}

TEST_CASE("tape: activations are released while the backward pass runs") {
  Tensor x = Tensor::zeros({1 << 16}).set_requires_grad();
  Tensor y = x;
  for (int i = 0; i < 16; ++i) y = multiply(y, y);
  Tensor total =
      record("total", Tensor::scalar(0), {y}, [](const Tensor&) -> Grads { return {Tensor::zeros({1 << 16})}; });
  y = {};
  const int64_t before = allocator_stats().bytes_in_use;
  backward(total);
  CHECK(allocator_stats().bytes_in_use < before - 13 * (1 << 18));
}

TEST_CASE("allocator: a repeated step takes its memory from the blocks of the last one") {
  const auto step = [] {
    for (int64_t n : {1000, 2000, 3000}) (void)Tensor::zeros({n});
  };
  step();
  const int64_t before = allocator_stats().system_allocations;
  for (int i = 0; i < 10; ++i) step();
  CHECK(allocator_stats().system_allocations == before);
}

TEST_CASE("parallel_for: every index is visited once, nested calls work, and exceptions arrive") {
  const int before = threads();
  for (int n : {1, 2, 5}) {
    set_threads(n);
    std::vector<int> seen(1000, 0);
    parallel_for(0, 1000, 1, [&](int64_t lo, int64_t hi) {
      parallel_for(lo, hi, 1, [&](int64_t a, int64_t b) {
        for (int64_t i = a; i < b; ++i) ++seen[static_cast<size_t>(i)];
      });
    });
    CHECK(seen == std::vector<int>(1000, 1));
    CHECK_THROWS_WITH_AS(parallel_for(0, 100, 1, [](int64_t, int64_t) { throw Error("boom"); }), "boom", Error);
  }
  set_threads(before);
}
