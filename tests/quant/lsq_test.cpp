#include "quant/lsq.h"

#include "quant/best_step.h"
#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Json lsq_json(int bits, bool weight, const Json& more = Json::object()) {
  Json json{{"type", "lsq"}, {"bits", bits}, {"role", weight ? "weight" : "act"}, {"signed", weight}};
  json.update(more);
  return json;
}

/// What the paper says of one element: eq. 1-3 and 5.
struct Element {
  double value, by_step, by_input;
};
Element paper(double v, double s, double lo, double hi) {
  const double u = v / s;
  if (u <= lo) return {lo * s, lo, 0};
  if (u >= hi) return {hi * s, hi, 0};
  return {std::nearbyint(u) * s, std::nearbyint(u) - u, 1};
}

float step_of(Layer& lsq, size_t channel = 0) { return States(lsq).all.at("step").data<float>()[channel]; }
int64_t guarded(Layer& lsq) { return States(lsq).all.at("state").data<int64_t>()[1]; }

const std::vector<float> kWeights{-1, -0.32f, -0.12f, 0, 0.07f, 0.2f, 0.26f, 0.9f};
Tensor weights() { return Tensor::from({8}, kWeights); }

/// The gradient of the step for an element alone: with scale "none" that is dv/ds.
Doubles step_gradients_of(const Json& json, const std::vector<float>& values) {
  Doubles found;
  for (const float v : values) {
    const auto lsq = make_quantizer(json);
    found.push_back(train_pass(*lsq, Tensor::of({v}), Tensor::of({1})).gradients.at("step").item());
  }
  return found;
}

}  // namespace

TEST_CASE("lsq: the weights of the specification's worked example") {
  const Tensor ones = Tensor::full({8}, 1);
  const auto two = make_quantizer(lsq_json(2, true, {{"step", 0.2}}));
  const Passed a = train_pass(*two, weights(), ones);
  CHECK(compare(a.y, {-0.4, -0.4, -0.2, 0, 0, 0.2, 0.2, 0.2}, 1e-7) == "");
  CHECK(values_of(a.dx) == std::vector<float>{0, 1, 1, 1, 1, 0, 0, 0});
  CHECK(compare(a.gradients.at("step"), {-0.05303301}, 1e-6) == "");
  CHECK(compare(step_gradients_of(lsq_json(2, true, {{"step", 0.2}, {"scale", "none"}}), kWeights),
                {-2, -0.4, -0.4, 0, -0.35, 1, 1, 1}, 1e-6) == "");
  const auto three = make_quantizer(lsq_json(3, true, {{"step", 0.2}}));
  const Passed b = train_pass(*three, weights(), ones);
  CHECK(compare(b.y, {-0.8, -0.4, -0.2, 0, 0, 0.2, 0.2, 0.6}, 1e-7) == "");
  CHECK(values_of(b.dx) == std::vector<float>{0, 1, 1, 1, 1, 1, 1, 0});
  CHECK(compare(b.gradients.at("step"), {-0.50010416}, 1e-6) == "");
  CHECK(compare(step_gradients_of(lsq_json(3, true, {{"step", 0.2}, {"scale", "none"}}), kWeights),
                {-4, -0.4, -0.4, 0, -0.35, 0, -0.3, 3}, 1e-6) == "");
}

TEST_CASE("lsq: the activations of the specification's worked example") {
  const std::vector<float> values{0, 0.05f, 0.11f, 0.31f, 0.5f, 0.59f, 0.61f, 2};
  const Json json = lsq_json(2, false, {{"step", 0.2}, {"scale", "none"}});
  const Passed passed = train_pass(*make_quantizer(json), Tensor::from({8}, values), Tensor::full({8}, 1));
  CHECK(compare(passed.y, {0, 0, 0.2, 0.4, 0.4, 0.6, 0.6, 0.6}, 1e-7) == "");  // 2.5 becomes 2
  CHECK(values_of(passed.dx) == std::vector<float>{0, 1, 1, 1, 1, 1, 0, 0});
  CHECK(compare(step_gradients_of(json, values), {0, -0.25, 0.45, 0.45, -0.5, 0.05, 3, 3}, 1e-6) == "");
}

TEST_CASE("lsq: the first step is 2 mean|v| / sqrt(Q_P) of the first training tensor only") {
  for (const auto& [bits, expected] : {std::pair{2, 0.7175}, {3, 0.41424882}}) {
    const auto lsq = make_quantizer(lsq_json(bits, true));
    const Tensor w = weights();
    lsq->forward({&w, 1}, {});
    CHECK(step_of(*lsq) == 1);  // eval has set nothing
    lsq->forward({&w, 1}, {.mode = Mode::train});
    CHECK(compare({step_of(*lsq)}, {expected}, 1e-6) == "");
    const Tensor other = Tensor::full({8}, 5);
    lsq->forward({&other, 1}, {.mode = Mode::train});
    CHECK(compare({step_of(*lsq)}, {expected}, 1e-6) == "");
  }
  const auto dead = make_quantizer(lsq_json(4, false));
  const Tensor zeros = Tensor::zeros({3});
  dead->forward({&zeros, 1}, {.mode = Mode::train});
  CHECK(step_of(*dead) == 1e-6f);
}

TEST_CASE("lsq: with init mse the first step has the least mean squared error, for weights per channel, too") {
  const Tensor x = relu(normal_tensor({64, 3, 5, 5}, 4)), later = Tensor::full({1, 4}, 9);
  const auto act = make_quantizer(lsq_json(2, false, {{"init", "mse"}}));
  act->forward({&x, 1}, {.mode = Mode::train});
  CHECK(step_of(*act) == doctest::Approx(best_steps(x, 1, 0, 3)[0]));
  act->forward({&later, 1}, {.mode = Mode::train});
  CHECK(step_of(*act) == doctest::Approx(best_steps(x, 1, 0, 3)[0]));
  const Tensor w = normal_tensor({2, 3, 5, 5}, 5, 0.1f);
  const auto weight = make_quantizer(lsq_json(3, true, {{"init", "mse"}, {"per_channel", true}, {"channels", 2}}));
  weight->forward({&w, 1}, {.mode = Mode::train});
  const std::vector<double> best = best_steps(w, 2, -4, 3);
  CHECK(compare({step_of(*weight, 0), step_of(*weight, 1)}, {best[0], best[1]}, 1e-6) == "");
  const auto dead = make_quantizer(lsq_json(4, false, {{"init", "mse"}}));
  const Tensor zeros = Tensor::zeros({3});
  dead->forward({&zeros, 1}, {.mode = Mode::train});
  CHECK(step_of(*dead) == 1e-6f);
}

TEST_CASE("lsq: values and gradients are the paper's for all widths and signs") {
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool is_signed : {false, true}) {
      const double lo = is_signed ? -std::ldexp(1, bits - 1) : 0, hi = std::ldexp(1, is_signed ? bits - 1 : bits) - 1;
      const Tensor x = normal_tensor({3, 4, 5, 7}, 20u + static_cast<uint64_t>(bits), 0.3f, 2);
      const Tensor dy = normal_tensor(x.shape(), 9);
      const float s = 0.37f / static_cast<float>(bits);
      const auto lsq = make_quantizer(lsq_json(bits, false, {{"signed", is_signed}, {"step", s}}));
      const Passed passed = train_pass(*lsq, x, dy);
      Doubles y, dx;
      double ds = 0;
      for (size_t i = 0; i < x.data<float>().size(); ++i) {
        const Element e = paper(x.data<float>()[i], s, lo, hi);
        const double g = dy.data<float>()[i];
        y.push_back(e.value);
        dx.push_back(g * e.by_input);
        ds += g * e.by_step;
      }
      CHECK(compare(passed.y, y, 1e-6) == "");
      CHECK(compare(passed.dx, dx, 1e-6) == "");
      // Every sample has 4 * 5 * 7 features.
      CHECK(compare(passed.gradients.at("step"), {ds / std::sqrt(140 * hi)}, 1e-5, 1e-6) == "");
    }
  }
}

TEST_CASE("lsq: the gradient scale has the alternatives of table 3, and N those of the specification") {
  const Tensor x = normal_tensor({2, 3, 3, 5}, 1, 0.5f), dy = normal_tensor(x.shape(), 2);
  const auto gradient = [&](const Json& more, bool weight = false) {
    Json options{{"step", 0.3}, {"signed", false}};
    options.update(more);
    return train_pass(*make_quantizer(lsq_json(3, weight, options)), x, dy).gradients.at("step").item();
  };
  const double raw = gradient({{"scale", "none"}});
  const auto is = [](double got, double expected) { return compare({got}, {expected}, 1e-6) == ""; };
  CHECK(std::abs(raw) > 0.1);
  CHECK(is(gradient(Json::object()), raw / std::sqrt(45 * 7)));
  CHECK(is(gradient({{"scale", "n"}}), raw / std::sqrt(45)));
  CHECK(is(gradient({{"features", "numel"}}), raw / std::sqrt(90 * 7)));
  CHECK(is(gradient({{"features", "channels"}}), raw / std::sqrt(5 * 7)));
  CHECK(is(gradient({{"scale_factor", 10}}), 10 * raw / std::sqrt(45 * 7)));
  CHECK(is(gradient(Json::object(), true), raw / std::sqrt(90 * 7)));  // weights: all of them
}

TEST_CASE("lsq: the specification's gradient scales of large layers") {
  const auto scale = [](int bits, bool weight, const Shape& shape) {
    const Tensor dy = Tensor::zeros(shape);
    dy.mutable_data<float>()[0] = 1;  // one clipped element: dv/ds is Q_P
    const auto lsq = make_quantizer(lsq_json(bits, weight, {{"step", 1}}));
    return train_pass(*lsq, Tensor::full(shape, 300), dy).gradients.at("step").item();
  };
  CHECK(compare({scale(2, true, {64, 64, 3, 3})}, {0.0052083}, 1e-5) == "");
  CHECK(compare({scale(3, true, {64, 64, 3, 3}) / 3}, {0.0030070}, 2e-5) == "");
  CHECK(compare({scale(2, false, {2, 56, 56, 64}) / 3}, {0.00128873}, 1e-5) == "");
}

TEST_CASE("lsq: per channel every output channel has its own step, first value and scale") {
  Tensor w = normal_tensor({3, 50}, 5);
  for (float& v : w.mutable_data<float>().subspan(50, 50)) v *= 8;
  const Tensor dy = normal_tensor({3, 50}, 6);
  const auto lsq = make_quantizer(lsq_json(3, true, {{"per_channel", true}, {"channels", 3}}));
  const Passed passed = train_pass(*lsq, w, dy);
  for (size_t c = 0; c < 3; ++c) {
    double mean = 0, ds = 0;
    for (size_t i = 50 * c; i < 50 * (c + 1); ++i) mean += std::abs(w.data<float>()[i]) / 50;
    CHECK(compare({step_of(*lsq, c)}, {2 * mean / std::sqrt(3)}, 1e-6) == "");
    for (size_t i = 50 * c; i < 50 * (c + 1); ++i) {
      const Element e = paper(w.data<float>()[i], step_of(*lsq, c), -4, 3);
      CHECK(std::abs(passed.y.data<float>()[i] - e.value) < 1e-5);
      ds += dy.data<float>()[i] * e.by_step;
    }
    CHECK(std::abs(passed.gradients.at("step").data<float>()[c] - ds / std::sqrt(50 * 3)) < 1e-5);
  }
}

TEST_CASE("lsq: scaling values and step leaves the codes; 8 bits err by half a step at most") {
  const Tensor x = normal_tensor({1000}, 7);
  Tensor scaled = x.clone();
  for (float& v : scaled.mutable_data<float>()) v *= 8;
  const auto one = make_quantizer(lsq_json(4, true, {{"step", 0.1}})),
             eight = make_quantizer(lsq_json(4, true, {{"step", 0.8f}}));
  States(*eight).all.at("step").mutable_data<float>()[0] = 8 * step_of(*one);
  CHECK(same_bits(encode(x, one->grid()), encode(scaled, eight->grid())));
  float most = 0;
  for (const float v : x.data<float>()) most = std::max(most, std::abs(v));
  const Tensor y = run_layer(lsq_json(8, true, {{"step", most / 127}}), x);
  for (size_t i = 0; i < 1000; ++i)
    CHECK(std::abs(y.data<float>()[i] - x.data<float>()[i]) <= most / 254 * (1 + 1e-5f));
}

TEST_CASE("lsq: a step is held between 1e-8 and 1e36, and that is counted") {
  const auto lsq = make_quantizer(lsq_json(2, true, {{"step", 0.5}}));
  float& step = States(*lsq).all.at("step").mutable_data<float>()[0];
  int64_t count = 0;
  for (const auto& [bad, held] : {std::pair{-0.1f, 1e-8f}, {0.0f, 1e-8f}, {NAN, 1e-8f}, {INFINITY, 1e36f}}) {
    step = bad;
    lsq->after_update();
    CHECK(step == held);
    CHECK(guarded(*lsq) == ++count);
    check_grid(lsq->grid(), 1);
  }
  step = 0.25f;
  lsq->after_update();
  CHECK(step == 0.25f);
  CHECK(guarded(*lsq) == count);
  CHECK_FALSE(States(*lsq).traits.at("step").decay);
}

TEST_CASE("lsq: what every quantizer promises") {
  const Tensor x = normal_tensor({6, 5, 41, 41}, 3);
  for (const Json& json : {lsq_json(2, false), lsq_json(8, true), lsq_json(3, true, {{"backward", "clipped_ste"}}),
                           lsq_json(4, true, {{"per_channel", true}, {"channels", 6}})}) {
    CHECK(broken_promise(json, x) == "");
    Json one = json;
    one["per_channel"] = false;
    CHECK(breaks_at_edges(one) == "");
  }
  CHECK(mentions(message_of([] { make_quantizer(lsq_json(1, true)); }), {"/bits"}));
  CHECK(mentions(message_of([] { make_quantizer(lsq_json(9, true)); }), {"/bits"}));
}
