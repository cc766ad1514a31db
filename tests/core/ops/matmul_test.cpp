#include <cmath>
#include <vector>

#include "core/blas.h"
#include "core/ops.h"
#include "core/parallel.h"
#include "core/tape.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

Tensor wave(const Shape& shape, float phase) {
  Tensor t = Tensor::empty(shape);
  float k = phase;
  for (float& v : t.mutable_data<float>()) v = std::sin(k += 0.7f);
  return t;
}

std::vector<float> plain_gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
                              const float* b, float beta, const float* c) {
  std::vector<float> out;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t p = 0; p < k; ++p)
        sum += static_cast<double>(ta ? a[p * m + i] : a[i * k + p]) * (tb ? b[j * k + p] : b[p * n + j]);
      out.push_back(static_cast<float>(alpha * sum + beta * c[i * n + j]));
    }
  return out;
}

TEST_CASE("gemm: agrees with the definition for all transpositions and odd sizes") {
  struct Size {
    int64_t m, n, k;
  };
  for (const Size s : {Size{1, 1, 1}, Size{127, 33, 65}, Size{5, 300, 130}, Size{64, 64, 1}, Size{3, 2, 0}})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const float beta : {0.f, 1.f, -0.5f}) {
          CAPTURE(s.m);
          CAPTURE(ta);
          CAPTURE(tb);
          CAPTURE(beta);
          const Tensor a = wave({s.m * s.k}, 0), b = wave({s.k * s.n}, 1), c = wave({s.m * s.n}, 2);
          const auto want = plain_gemm(ta, tb, s.m, s.n, s.k, 1.5f, a.data<float>().data(), b.data<float>().data(),
                                       beta, c.data<float>().data());
          gemm(ta, tb, s.m, s.n, s.k, 1.5f, a.data<float>().data(), ta ? s.m : std::max<int64_t>(1, s.k),
               b.data<float>().data(), tb ? std::max<int64_t>(1, s.k) : s.n, beta, c.mutable_data<float>().data(), s.n);
          double gap = 0;
          for (size_t i = 0; i < want.size(); ++i)
            gap = std::max(gap, static_cast<double>(std::fabs(c.data<float>()[i] - want[i])));
          CHECK(gap < 1e-4);
        }
}

TEST_CASE("gemm: results are the same bits for every number of threads, which stays as it was") {
  const int before = threads();
  const Tensor a = wave({300, 200}, 0), b = wave({200, 250}, 1);
  std::vector<std::vector<float>> results;
  for (const int n : {1, 2, 5}) {
    set_threads(n);
    std::vector<float> c(300 * 250);
    gemm(false, false, 300, 250, 200, 1, a.data<float>().data(), 200, b.data<float>().data(), 250, 0, c.data(), 250);
    CHECK(threads() == n);
    results.push_back(c);
  }
  set_threads(before);
  CHECK((results[0] == results[1]));
  CHECK((results[0] == results[2]));
}

TEST_CASE("column_sums: adds rows in an order of its own") {
  const int64_t m = 1000, n = 17;
  const Tensor a = wave({m, n}, 0);
  std::vector<float> sums(static_cast<size_t>(n));
  column_sums(m, n, a.data<float>().data(), sums.data());
  for (int64_t j = 0; j < n; ++j) {
    double want = 0;
    for (int64_t i = 0; i < m; ++i) want += a.data<float>()[static_cast<size_t>(i * n + j)];
    CHECK(sums[static_cast<size_t>(j)] == doctest::Approx(want).epsilon(1e-5));
  }
}

TEST_CASE("blas_info: names the library") { CHECK_FALSE(blas_info().library.empty()); }

TEST_CASE("linear: values and gradients by hand") {
  // x = [1 2; 3 4; 5 6], w = [1 0; 0 1; 1 1], bias = [10 20 30]
  Tensor x = Tensor::from({3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6}).set_requires_grad();
  Tensor w = Tensor::from({3, 2}, std::vector<float>{1, 0, 0, 1, 1, 1}).set_requires_grad();
  Tensor bias = Tensor::of({10, 20, 30}).set_requires_grad();
  const Tensor y = linear(x, w, bias);
  const std::vector<float> want{11, 22, 33, 13, 24, 37, 15, 26, 41};
  CHECK((std::vector<float>(y.data<float>().begin(), y.data<float>().end()) == want));
  const Tensor dy = Tensor::from({3, 3}, std::vector<float>{1, 2, 3, 0, 1, 0, 2, 0, 1});
  const Grads g = y.node()->backward(dy);
  const auto values = [](const Tensor& t) {
    return std::vector<float>(t.data<float>().begin(), t.data<float>().end());
  };
  CHECK((values(g[0]) == std::vector<float>{4, 5, 0, 1, 3, 1}));     // dy w
  CHECK((values(g[1]) == std::vector<float>{11, 14, 5, 8, 8, 12}));  // dy^T x
  CHECK((values(g[2]) == std::vector<float>{3, 3, 4}));              // column sums of dy
}

TEST_CASE("linear: works without bias and skips gradients nobody asked for") {
  const Tensor x = wave({4, 5}, 0);
  Tensor w = wave({3, 5}, 1).set_requires_grad();
  const Grads g = linear(x, w, {}).node()->backward(wave({4, 3}, 2));
  CHECK_FALSE(g[0].defined());
  CHECK(g[1].shape() == w.shape());
  CHECK_FALSE(g[2].defined());
}

TEST_CASE("linear: errors say what was expected and what was found") {
  CHECK_THROWS_WITH_AS(linear(Tensor::zeros({2, 8}), Tensor::zeros({10, 9}), {}),
                       "linear: weight expects 9 features, input has 8 (input [2,8], weight [10,9])", Error);
  CHECK_THROWS_AS(linear(Tensor::zeros({2, 8}), Tensor::zeros({10, 8}), Tensor::zeros({9})), Error);
  CHECK_THROWS_AS(linear(Tensor::zeros({2, 2, 4}), Tensor::zeros({10, 4}), {}), Error);
}

}  // namespace
}  // namespace nibble
