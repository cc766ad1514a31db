#include "quant/abc.h"

#include <cmath>

#include "core/parallel.h"
#include "tests/layers/support.h"
#include "tests/support/gradcheck.h"

using namespace nibble;
using namespace nibble::test;

namespace {

std::shared_ptr<Quantizer> make_abc(const char* role, int bits, Json options = Json::object()) {
  Json json{{"type", "abc"}, {"role", role}, {"bits", bits}};
  json.update(options);
  return std::dynamic_pointer_cast<Quantizer>(make_layer(json));
}

std::map<std::string, Tensor> state(Quantizer& q) {
  struct Visitor final : StateVisitor {
    std::map<std::string, Tensor> found;
    void on_param(const std::string& name, Tensor& tensor, const ParamTraits& traits) override {
      CHECK_FALSE(traits.decay);
      found[name] = tensor;
    }
    void on_buffer(const std::string& name, Tensor& tensor) override { found[name] = tensor; }
  } visitor;
  q.visit(visitor);
  return visitor.found;
}

/// The bases (count rows of n signs) and their least-squares factors, by Gauss elimination with pivoting.
struct Fit {
  std::vector<Doubles> bases, shifted;
  Doubles alpha;

  Fit(const Doubles& w, int count) {
    const auto n = static_cast<double>(w.size());
    double mean = 0, variance = 0;
    for (const double v : w) mean += v / n;
    for (const double v : w) variance += (v - mean) * (v - mean) / n;
    for (int m = 0; m < count; ++m) {
      const double u = count == 1 ? 0 : -1 + 2.0 * m / (count - 1);
      Doubles base, shift;
      for (const double v : w) {
        shift.push_back(v - mean + u * std::sqrt(variance));
        base.push_back(shift.back() >= 0 ? 1 : -1);
      }
      bases.push_back(base);
      shifted.push_back(shift);
    }
    const auto size = static_cast<size_t>(count);
    std::vector<Doubles> a(size, Doubles(size + 1));
    for (size_t i = 0; i < size; ++i) {
      for (size_t k = 0; k < w.size(); ++k) {
        for (size_t j = 0; j < size; ++j) a[i][j] += bases[i][k] * bases[j][k];
        a[i][size] += bases[i][k] * w[k];
      }
    }
    for (size_t i = 0; i < size; ++i) {
      size_t pivot = i;
      for (size_t j = i; j < size; ++j)
        if (std::abs(a[j][i]) > std::abs(a[pivot][i])) pivot = j;
      std::swap(a[i], a[pivot]);
      for (size_t j = 0; j < size; ++j) {
        if (j == i) continue;
        const double factor = a[j][i] / a[i][i];
        for (size_t k = i; k <= size; ++k) a[j][k] -= factor * a[i][k];
      }
    }
    for (size_t i = 0; i < size; ++i) alpha.push_back(a[i][size] / a[i][i]);
  }
  Doubles forward() const {
    Doubles y(bases[0].size(), 0.0);
    for (size_t m = 0; m < bases.size(); ++m)
      for (size_t i = 0; i < y.size(); ++i) y[i] += alpha[m] * bases[m][i];
    return y;
  }
};

}  // namespace

TEST_CASE("abc: weights are the least-squares sum of binary bases") {
  for (const int bits : {1, 2, 3, 5, 8}) {
    CAPTURE(bits);
    Tensor w = normal_tensor({2000}, 4, 0.03f, 0.2f).set_requires_grad();
    const Fit fit(doubles_of(w), bits);
    const auto q = make_abc("weight", bits);
    const Tensor y = q->forward({&w, 1}, {.mode = Mode::train});
    CHECK(compare(y, fit.forward(), 1e-6) == "");
    CHECK(level_count(q->grid(w)) == int64_t{1} << bits);
    CHECK(same_bits(snap(y, q->grid(w)), y));
    const Tensor dy = normal_tensor({2000}, 5);
    backward(weighted_sum(y, dy));
    double sum = 0;
    for (const double alpha : fit.alpha) sum += alpha;
    Doubles expected;
    for (const double g : doubles_of(dy)) expected.push_back(sum * g);
    CHECK(compare(w.grad(), expected, 1e-5) == "");
  }
}

TEST_CASE("abc: one weight basis is mean|W - mean| sized around 0: BWN of the centred weight") {
  const Tensor w = Tensor::of({-0.8f, -0.3f, -0.05f, 0, 0.1f, 0.4f, 1.2f});
  const auto q = make_abc("weight", 1);
  // mean 0.55 / 7 = 0.0786; signs -,-,-,-,+,+,+ and alpha = sum of sign(w - mean) w / 7 = 2.85 / 7.
  const double alpha = 2.85 / 7;
  CHECK(compare(q->forward({&w, 1}, {}), {-alpha, -alpha, -alpha, -alpha, alpha, alpha, alpha}, 1e-6) == "");
}

TEST_CASE("abc: the weight's gradient can pass unchanged, or through a rule for every basis") {
  Tensor w = normal_tensor({500}, 6).set_requires_grad();
  const Tensor dy = normal_tensor({500}, 7);
  const auto gradient = [&](const Json& options) {
    w.set_grad({});
    backward(weighted_sum(make_abc("weight", 3, options)->forward({&w, 1}, {.mode = Mode::train}), dy));
    return w.grad();
  };
  CHECK(same_bits(gradient({{"gradient", "identity"}}), dy));
  const Fit fit(doubles_of(w), 3);
  Doubles expected(500, 0.0);
  for (size_t m = 0; m < 3; ++m)
    for (size_t i = 0; i < 500; ++i)
      expected[i] += fit.alpha[m] * dy.data<float>()[i] * (std::abs(fit.shifted[m][i]) <= 1);
  CHECK(compare(gradient({{"backward", "hard_tanh"}}), expected, 1e-5) == "");
}

TEST_CASE("abc: activations, forward and all gradients are the paper's") {
  for (const int bits : {1, 2, 3, 5, 8}) {
    CAPTURE(bits);
    const auto q = make_abc("act", bits);
    auto params = state(*q);
    const auto count = static_cast<size_t>(bits);
    // Not the initial values, and not sorted.
    params["beta"].copy_from(random_tensor({bits}, 8, 0.2f, 0.9f));
    params["shift"].copy_from(random_tensor({bits}, 9, -0.5f, 1));
    Tensor x = normal_tensor({3, 700}, 10).set_requires_grad();
    const Tensor y = q->forward({&x, 1}, {.mode = Mode::train}), dy = normal_tensor({3, 700}, 11);
    backward(weighted_sum(y, dy));
    const Doubles beta = doubles_of(params["beta"]), v = doubles_of(params["shift"]);
    Doubles forward(2100, 0.0), dx(2100, 0.0), dbeta(count, 0.0), dv(count, 0.0);
    for (size_t i = 0; i < 2100; ++i) {
      for (size_t k = 0; k < count; ++k) {
        const double at = x.data<float>()[i] + v[k], g = dy.data<float>()[i];
        const double base = std::clamp(at, 0.0, 1.0) >= 0.5 ? 1 : -1, slope = at >= 0 && at <= 1 ? 1 : 0;
        forward[i] += beta[k] * base;
        dx[i] += beta[k] * g * slope;
        dbeta[k] += g * base;
        dv[k] += beta[k] * g * slope;
      }
    }
    CHECK(compare(y, forward, 1e-6) == "");
    CHECK(compare(x.grad(), dx, 1e-5) == "");
    CHECK(compare(params["beta"].grad(), dbeta, 1e-5) == "");
    CHECK(compare(params["shift"].grad(), dv, 1e-5) == "");
    CHECK(level_count(q->grid()) == bits + 1);
  }
}

TEST_CASE("abc: activations start at 1/N and the thresholds at the normal distribution's quantiles") {
  const auto q = make_abc("act", 3);
  CHECK(compare(state(*q)["beta"], {1 / 3., 1 / 3., 1 / 3.}, 1e-6) == "");
  CHECK(compare(state(*q)["shift"], {0.5 + 0.6744897501960817, 0.5, 0.5 - 0.6744897501960817}, 1e-6) == "");
  const Tensor x = Tensor::of({-0.7f, -0.6f, 0, -1e-6f, 0.6f, 0.7f});
  CHECK(compare(q->forward({&x, 1}, {}), {-1, -1 / 3., 1 / 3., -1 / 3., 1 / 3., 1}, 1e-6) == "");
}

TEST_CASE("abc: beta and the shifts stay in bounds") {
  const auto q = make_abc("act", 2);
  auto params = state(*q);
  params["beta"].copy_from(Tensor::of({-1, NAN}));
  params["shift"].copy_from(Tensor::of({INFINITY, NAN}));
  q->after_update();
  CHECK(params["state"].data<int64_t>()[0] == 4);
  check_grid(q->grid(), 1);
  for (const float beta : params["beta"].data<float>()) CHECK(beta > 0);
  q->after_update();
  CHECK(params["state"].data<int64_t>()[0] == 4);
}

TEST_CASE("abc: constant weights make equal bases, which stops nothing") {
  for (const float value : {0.25f, 0.0f, -3e38f, 1e-40f}) {
    for (const int bits : {1, 3, 8}) {
      CAPTURE(value);
      CAPTURE(bits);
      const Tensor w = Tensor::full({64}, value);
      const auto q = make_abc("weight", bits);
      const Tensor y = q->forward({&w, 1}, {});
      for (const float v : y.data<float>()) CHECK(std::isfinite(v));
      if (std::abs(value) < 1) CHECK(y.data<float>()[0] == doctest::Approx(value).epsilon(1e-5));
      check_grid(q->grid(w), 1);
    }
  }
}

TEST_CASE("abc: the same bits for 1 and 2 threads, state and options come back") {
  const int before = threads();
  for (const char* role : {"weight", "act"}) {
    std::vector<Tensor> results;
    for (const int count : {1, 2}) {
      set_threads(count);
      const auto q = make_abc(role, 4);
      Tensor x = normal_tensor({100000}, 6).set_requires_grad();
      const Tensor y = q->forward({&x, 1}, {.mode = Mode::train});
      backward(weighted_sum(y, normal_tensor({100000}, 7)));
      results.insert(results.end(), {y, x.grad()});
      if (std::string(role) == "act") {
        results.insert(results.end(), {state(*q)["beta"].grad(), state(*q)["shift"].grad()});
        state(*q)["beta"].copy_from(random_tensor({4}, 3, 0.1f, 1));
      }
      Graph graph;
      graph.add("q", q, {"input"});
      const Graph copy = graph.clone();
      CHECK(copy.to_json() == graph.to_json());
      CHECK(same_bits(copy.forward(x, {}), graph.forward(x, {})));
    }
    const size_t half = results.size() / 2;
    for (size_t i = 0; i < half; ++i) CHECK(same_bits(results[i], results[i + half]));
  }
  set_threads(before);
}
