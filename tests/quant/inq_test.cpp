#include "quant/inq.h"

#include <cmath>
#include <numeric>

#include "core/parallel.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

std::shared_ptr<Quantizer> make_inq(int64_t weights, Json options = Json::object()) {
  Json json{{"type", "inq"}, {"channels", 1}, {"fan_in", weights}};
  json.update(options);
  return std::dynamic_pointer_cast<Quantizer>(make_layer(json));
}

Tensor train(Quantizer& q, const Tensor& w, int phase) {
  const TrainClock clock{.phase = phase, .phases = q.phases()};
  return q.forward({&w, 1}, {.mode = Mode::train, .clock = &clock});
}

int64_t fixed_count(const Quantizer& q) {
  const Tensor mask = q.mask();
  return std::ranges::count(mask.data<uint8_t>(), uint8_t{0});
}

/// The paper's rule in double: 2^n covers [0.75 2^n, 1.5 2^n), the smallest from 2^n2 / 2.
double quantized(double w, int n1, int n2) {
  for (int n = n1; n >= n2; --n) {
    const double level = std::ldexp(1.0, n), begins = n == n2 ? level / 2 : 0.75 * level;
    if (std::abs(w) >= begins) return w < 0 ? -level : level;
  }
  return 0;
}

}  // namespace

TEST_CASE("inq: the spec's test vector at 5, 3 and 2 bits") {
  const Tensor w = Tensor::of({-0.8f, -0.3f, -0.05f, 0, 0.1f, 0.4f, 1.2f});
  const auto at_bits = [&](int bits) {
    const auto q = make_inq(7, {{"bits", bits}});
    return values_of(q->forward({&w, 1}, {}));
  };
  CHECK(at_bits(5) == std::vector<float>{-1, -0.25f, -0.0625f, 0, 0.125f, 0.5f, 1});
  CHECK(at_bits(3) == std::vector<float>{-1, -0.5f, 0, 0, 0, 0.5f, 1});
  CHECK(at_bits(2) == std::vector<float>{-1, 0, 0, 0, 0, 0, 1});
}

TEST_CASE("inq: levels by the formula, ends of the intervals included below and excluded above") {
  for (const int bits : {2, 3, 4, 5, 8}) {
    for (const double s : {1.2, 0.75, 0.7499, 1.4999, 0.031, 5.0}) {
      CAPTURE(bits);
      CAPTURE(s);
      const auto largest = static_cast<float>(s);
      const int n1 = static_cast<int>(std::floor(std::log2(4.0 * static_cast<double>(largest) / 3.0)));
      const int n2 = n1 + 1 - (1 << (bits - 1)) / 2;
      Tensor w = random_tensor({3000}, 5, -largest, largest);
      auto values = w.mutable_data<float>();
      values[0] = largest;
      size_t at = 1;
      for (int n = n2; n <= n1; ++n) {
        const float begins = std::ldexp(n == n2 ? 0.5f : 0.75f, n);
        for (const float v : {begins, std::nextafter(begins, 0.0f)})
          if (v <= largest) {
            values[at++] = v;
            values[at++] = -v;
          }
      }
      const auto q = make_inq(3000, {{"bits", bits}});
      const Tensor y = q->forward({&w, 1}, {});
      size_t wrong = 0;
      for (size_t i = 0; i < 3000; ++i)
        wrong += static_cast<double>(y.data<float>()[i]) != quantized(static_cast<double>(values[i]), n1, n2);
      CHECK(wrong == 0);
      CHECK(level_count(q->grid(w)) == (1 << (bits - 1)) + 1);
    }
  }
}

TEST_CASE("inq: a portion of the largest weights is fixed at a time, and stays") {
  const auto q = make_inq(1000);
  Tensor w = normal_tensor({1000}, 2);
  double s = 0;
  for (const float v : w.data<float>()) s = std::max(s, std::abs(static_cast<double>(v)));
  const int n1 = static_cast<int>(std::floor(std::log2(4 * s / 3))), n2 = n1 + 1 - 8;
  const std::vector<size_t> totals = {500, 750, 875, 1000};
  std::vector<bool> fixed(1000, false);
  for (int phase = 0; phase < 4; ++phase) {
    CAPTURE(phase);
    const Tensor fresh = normal_tensor({1000}, 30 + static_cast<uint64_t>(phase));
    for (size_t i = 0; i < 1000; ++i)
      if (!fixed[i]) w.mutable_data<float>()[i] = fresh.data<float>()[i];
    const std::vector<float> before = values_of(w);
    const Tensor y = train(*q, w, phase);
    CHECK(same_bits(y, w));
    // What is still free, by falling magnitude.
    std::vector<size_t> order;
    for (size_t i = 0; i < 1000; ++i)
      if (!fixed[i]) order.push_back(i);
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return std::abs(before[a]) > std::abs(before[b]); });
    const size_t already = 1000 - order.size();
    std::vector<bool> expected = fixed;
    for (size_t k = 0; k < totals[static_cast<size_t>(phase)] - already; ++k) expected[order[k]] = true;
    size_t wrong = 0;
    for (size_t i = 0; i < 1000; ++i) {
      wrong += (q->mask().data<uint8_t>()[i] == 0) != expected[i];
      const bool joins = expected[i] && !fixed[i];
      const double value = joins ? quantized(static_cast<double>(before[i]), n1, n2) : static_cast<double>(before[i]);
      wrong += static_cast<double>(w.data<float>()[i]) != value;
    }
    CHECK(wrong == 0);
    fixed = expected;
    train(*q, w, phase);
    CHECK(fixed_count(*q) == static_cast<int64_t>(totals[static_cast<size_t>(phase)]));
  }
}

TEST_CASE("inq: a weight beyond the outermost interval takes the outermost level") {
  const auto q = make_inq(2);
  Tensor w = Tensor::of({1, -1});
  train(*q, w, 0);
  const Tensor moved = Tensor::of({7, -1.5f});
  CHECK(values_of(q->forward({&moved, 1}, {})) == std::vector<float>{1, -1});
}

TEST_CASE("inq: the random partition is cumulative, independent of the weights, and another for another seed") {
  const auto fixed_by = [](uint64_t seed, uint64_t weights) {
    const auto q = make_inq(2000, {{"partition", "random"}, {"seed", seed}, {"portions", {0.25, 0.5, 1}}});
    Tensor w = normal_tensor({2000}, weights);
    train(*q, w, 0);
    const Tensor first = q->mask().clone();
    CHECK(fixed_count(*q) == 500);
    train(*q, w, 1);
    CHECK(fixed_count(*q) == 1000);
    for (size_t i = 0; i < 2000; ++i) CHECK(q->mask().data<uint8_t>()[i] <= first.data<uint8_t>()[i]);
    return q->mask().clone();
  };
  CHECK(same_bits(fixed_by(1, 1), fixed_by(1, 2)));
  CHECK_FALSE(same_bits(fixed_by(1, 1), fixed_by(2, 1)));
}

TEST_CASE("inq: state and options come back") {
  const auto q = make_inq(300, {{"bits", 4}, {"partition", "random"}, {"seed", 9}});
  Tensor w = normal_tensor({300}, 1);
  train(*q, w, 1);
  Graph graph;
  graph.add("q", q, {"input"});
  const Graph copy = graph.clone();
  CHECK(copy.to_json() == graph.to_json());
  const auto twin = std::dynamic_pointer_cast<Quantizer>(copy.node("q").layer);
  Tensor v = w.clone();
  for (int phase : {1, 2, 3}) {
    CHECK(same_bits(train(*q, w, phase), train(*twin, v, phase)));
    CHECK(same_bits(q->mask(), twin->mask()));
  }
}

TEST_CASE("inq: all-zero, tiny, huge and single weights have a grid; bad portions are named") {
  for (const float value : {0.0f, 1e-45f, 1e-39f, 3.4e38f, 1.0f}) {
    for (const int bits : {2, 8}) {
      CAPTURE(value);
      const auto q = make_inq(1, {{"bits", bits}});
      Tensor w = Tensor::full({1}, value);
      for (int phase = 0; phase < 4; ++phase) train(*q, w, phase);
      check_grid(q->grid(), 1);
      CHECK(std::isfinite(w.item()));
      CHECK(same_bits(w, q->forward({&w, 1}, {})));
    }
  }
  CHECK(mentions(message_of([] { make_inq(3, {{"portions", {0.5, 0.4, 1}}}); }), {"portions", "0.4"}));
  CHECK(mentions(message_of([] { make_inq(3, {{"portions", {0.5}}}); }), {"portions", "end with 1"}));
  CHECK(mentions(message_of([] { train(*make_inq(2), Tensor::of({1, INFINITY}), 0); }), {"inq", "element 1", "inf"}));
}
