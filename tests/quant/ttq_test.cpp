#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

void set_levels(Layer& q, float wp, float wn) {
  const States states(q);
  states.all.at("wp").mutable_data<float>()[0] = wp;
  states.all.at("wn").mutable_data<float>()[0] = wn;
}

}  // namespace

TEST_CASE("ttq: keeps the promises of a quantizer") {
  const Tensor w = normal_tensor({6, 5, 41, 41}, 1, 0, 0.1f);
  for (const Json& json : {Json{{"type", "ttq"}}, Json{{"type", "ttq"}, {"init", "twn"}, {"threshold", 0.2}}}) {
    CHECK(broken_promise(json, w) == "");
    CHECK(breaks_at_edges(json) == "");
  }
}

TEST_CASE("ttq: the worked example has codes - - 0 0 + + +") {
  const auto q = make_layer({{"type", "ttq"}});
  set_levels(*q, 2, 3);
  const Tensor w = example_weights();
  CHECK(values_of(q->forward({&w, 1}, {})) == std::vector<float>{-3, -3, 0, 0, 2, 2, 2});
}

TEST_CASE("ttq: values and the three gradients are the paper's, dL/dWn with its minus sign") {
  const Tensor w = normal_tensor({5, 4, 3, 3}, 2, 0, 0.4f), dy = normal_tensor({5, 4, 3, 3}, 3, 0.3f);
  const auto q = make_layer({{"type", "ttq"}, {"threshold", 0.3}});
  set_levels(*q, 0.7f, 1.9f);
  double largest = 0, dwp = 0, dwn = 0;
  for (const double v : doubles_of(w)) largest = std::max(largest, std::abs(v));
  Doubles y, dw;
  for (size_t i = 0; i < w.data<float>().size(); ++i) {
    const double v = w.data<float>()[i], g = dy.data<float>()[i], delta = 0.3 * largest;
    const double wp = 0.7f, wn = 1.9f;
    y.push_back(v > delta ? wp : v < -delta ? -wn : 0);
    dw.push_back(g * (v > delta ? wp : v < -delta ? wn : 1));
    dwp += v > delta ? g : 0;
    dwn -= v < -delta ? g : 0;
  }
  const Passed passed = train_pass(*q, w, dy);
  CHECK(compare(passed.y, y, 1e-7) == "");
  CHECK(compare(passed.dx, dw, 1e-6) == "");
  CHECK(passed.gradients.at("wp").item() == doctest::Approx(dwp));
  CHECK(passed.gradients.at("wn").item() == doctest::Approx(dwn));
}

TEST_CASE("ttq: a weight at the threshold is 0 on both sides") {
  const Tensor w = Tensor::of({-1, -0.5f, 0.5f, 1, std::nextafter(0.5f, 1.0f), -std::nextafter(0.5f, 1.0f)});
  const Tensor y = run_layer({{"type", "ttq"}, {"threshold", 0.5}}, w);
  CHECK(values_of(y) == std::vector<float>{-1, 0, 0, 1, 1, -1});
}

TEST_CASE("ttq: the levels start at 1, or once at the TWN scale of the first training weights") {
  const auto plain = make_layer({{"type", "ttq"}});
  CHECK(States(*plain).all.at("wp").item() == 1);
  CHECK(States(*plain).all.at("wn").item() == 1);
  CHECK_FALSE(States(*plain).traits.at("wp").decay);

  const auto q = make_layer({{"type", "ttq"}, {"init", "twn"}});
  const Tensor w = example_weights(), other = normal_tensor({7}, 3);
  q->forward({&other, 1}, {});
  train_pass(*q, w, w);
  CHECK(States(*q).all.at("wp").item() == 0.675f);
  CHECK(States(*q).all.at("wn").item() == 0.675f);
  train_pass(*q, other, w);
  CHECK(States(*q).all.at("wp").item() == 0.675f);
}

TEST_CASE("ttq: with a sparsity that part of the weights is 0, however they are scaled") {
  for (const float scale : {0.01f, 3.0f}) {
    const Tensor w = normal_tensor({10, 4, 5, 5}, 6, 0, scale);
    const auto q = make_layer({{"type", "ttq"}, {"sparsity", 0.3}});
    const Passed passed = train_pass(*q, w, normal_tensor(w.shape(), 7));
    float smallest_kept = 1e9f, largest_dropped = 0;
    int64_t zeros = 0;
    for (size_t i = 0; i < 1000; ++i) {
      const float magnitude = std::abs(w.data<float>()[i]);
      const bool zero = passed.y.data<float>()[i] == 0;
      zeros += zero;
      (zero ? largest_dropped : smallest_kept) =
          zero ? std::max(largest_dropped, magnitude) : std::min(smallest_kept, magnitude);
    }
    CHECK(zeros == 300);
    CHECK(largest_dropped < smallest_kept);
  }
}

TEST_CASE("ttq: the levels stay positive and finite, and each correction is counted") {
  const auto q = make_layer({{"type", "ttq"}});
  const States states(*q);
  const Tensor w = example_weights();
  set_levels(*q, 0.5f, 0.25f);
  train_pass(*q, w, w);
  set_levels(*q, -3, std::numeric_limits<float>::quiet_NaN());
  q->after_update();
  CHECK(states.all.at("wp").item() == 1e-8f);
  CHECK(states.all.at("wn").item() == 0.25f);
  CHECK(states.all.at("state").data<int64_t>()[1] == 2);
  CHECK(off_grid(q->forward({&w, 1}, {}), std::dynamic_pointer_cast<Quantizer>(q)->grid(w)) == "");
  q->after_update();
  CHECK(states.all.at("state").data<int64_t>()[1] == 2);
}
