#include "quant/elq.h"

#include <cmath>

#include "core/parallel.h"
#include "layers/conv2d.h"
#include "optim/optimizer.h"
#include "tests/layers/support.h"
#include "tests/support/gradcheck.h"

using namespace nibble;
using namespace nibble::test;

namespace {

std::shared_ptr<Quantizer> make_elq(int64_t weights, Json options = Json::object()) {
  Json json{{"type", "elq"}, {"channels", 1}, {"fan_in", weights}};
  json.update(options);
  return std::dynamic_pointer_cast<Quantizer>(make_layer(json));
}

/// A training pass in this phase of eight; `share` is the learning rate's part of the phase.
Tensor train(Quantizer& q, const Tensor& w, int phase, double share = 0, double lr = 0) {
  const TrainClock clock{.phase = phase, .phases = q.phases(), .lr = lr, .lr_share = share};
  return q.forward({&w, 1}, {.mode = Mode::train, .clock = &clock});
}

std::vector<int64_t> fixed_of(const Quantizer& q) {
  std::vector<int64_t> fixed;
  const Tensor mask = q.mask();
  for (int64_t i = 0; i < mask.numel(); ++i)
    if (mask.data<uint8_t>()[static_cast<size_t>(i)] == 0) fixed.push_back(i);
  return fixed;
}

float alpha_of(const Quantizer& q) { return levels_of(q.grid(), 0).back(); }

/// elq.md section 7, with the four weights on band ends moved inwards by 1e-4.
Tensor oracle_weights() {
  return Tensor::of({-0.31f, -0.1701f, -0.118f, -0.101f, -0.1f, -0.09f, -0.07f, -0.0201f, 0, 0.0301f, 0.081f, 0.099f,
                     0.1f, 0.115f, 0.13f, 0.1901f, 0.25f});
}

const std::vector<double> kBounds = {0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0};

}  // namespace

TEST_CASE("elq: alpha is mean|W| + 0.05 max|W| of the first weight, and stays (eq. 10)") {
  Tensor w = normal_tensor({36864}, 3);
  double sum = 0, most = 0, signed_sum = 0, highest = -1;
  for (const double v : doubles_of(w)) {
    sum += std::abs(v);
    signed_sum += v;
    most = std::max(most, std::abs(v));
    highest = std::max(highest, v);
  }
  const double alpha = sum / 36864 + 0.05 * most;
  const auto q = make_elq(36864);
  CHECK(std::holds_alternative<Real>(q->grid()));
  CHECK(std::get<Uniform>(q->grid(w)).scale[0] == doctest::Approx(alpha).epsilon(1e-6));
  train(*q, w, 0);
  CHECK(alpha_of(*q) == doctest::Approx(alpha).epsilon(1e-6));
  train(*q, Tensor::full({36864}, 0.5f), 1);
  CHECK(alpha_of(*q) == doctest::Approx(alpha).epsilon(1e-6));

  const auto literal = make_elq(36864, {{"alpha_rule", "literal"}, {"beta", 0.1}});
  CHECK(std::get<Uniform>(literal->grid(normal_tensor({36864}, 3))).scale[0] ==
        doctest::Approx(signed_sum / 36864 + 0.1 * highest).epsilon(1e-6));
}

TEST_CASE("elq: the bands of the spec's table, cumulative, values by eq. 11, fixed weights never change") {
  const auto q = make_elq(17, {{"alpha", 0.2}});
  const Tensor w = oracle_weights();
  const std::vector<std::vector<int64_t>> expected = {{},
                                                      {2, 3, 4, 5, 10, 11, 12, 13},
                                                      {2, 3, 4, 5, 6, 10, 11, 12, 13, 14},
                                                      {2, 3, 4, 5, 6, 10, 11, 12, 13, 14},
                                                      {2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14},
                                                      {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14},
                                                      {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14},
                                                      {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
  const std::vector<float> real = values_of(oracle_weights());
  const std::vector<int> codes = {-1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1};
  for (int phase = 0; phase < 8; ++phase) {
    CAPTURE(phase);
    const Tensor y = train(*q, w, phase);
    CHECK(same_bits(y, w));  // mixed: the weight as it is stored
    const std::vector<int64_t> fixed = fixed_of(*q);
    CHECK(fixed == expected[static_cast<size_t>(phase)]);
    for (int64_t i = 0; i < 17; ++i) {
      const auto at = static_cast<size_t>(i);
      const bool is_fixed = std::ranges::find(fixed, i) != fixed.end();
      const float clipped = std::clamp(real[at], -0.2f, 0.2f);
      CHECK(w.data<float>()[at] == (is_fixed ? 0.2f * static_cast<float>(codes[at]) : clipped));
    }
    const Tensor eval = q->forward({&w, 1}, {});
    for (size_t i = 0; i < 17; ++i) CHECK(eval.data<float>()[i] == 0.2f * static_cast<float>(codes[i]));
  }
}

TEST_CASE("elq: the worked example of the figure") {
  const auto q = make_elq(8, {{"alpha", 0.2}});
  const Tensor w = Tensor::of({-0.119f, -0.1001f, -0.0999f, -0.0801f, 0.0801f, 0.0999f, 0.1001f, 0.1199f});
  train(*q, w, 0);
  train(*q, w, 1);
  CHECK(values_of(w) == std::vector<float>{-0.2f, -0.2f, 0, 0, 0, 0, 0.2f, 0.2f});
  const auto outside = make_elq(4, {{"alpha", 0.2}});
  const Tensor v = Tensor::of({-0.1201f, -0.0799f, 0.0799f, 0.1201f});
  train(*outside, v, 1);
  CHECK(fixed_of(*outside).empty());
}

TEST_CASE("elq: membership on random weights is the formula in double, ternary and binary") {
  for (const char* bands : {"center", "literal"}) {
    for (const char* levels : {"ternary", "binary"}) {
      CAPTURE(std::string(bands));
      CAPTURE(std::string(levels));
      const auto q = make_elq(4000, {{"levels", levels}, {"bands", bands}});
      Tensor w = normal_tensor({4000}, 8, 0, 0.05f);
      train(*q, w, 0);
      const double alpha = alpha_of(*q);
      std::vector<bool> expected(4000, false);
      for (int phase = 0; phase < 8; ++phase) {
        // Weights are drawn anew, so that membership shows to be cumulative and evaluated at the start of a phase.
        const Tensor fresh = normal_tensor({4000}, 20 + static_cast<uint64_t>(phase), 0, 0.05f);
        for (size_t i = 0; i < 4000; ++i)
          if (!expected[i]) w.mutable_data<float>()[i] = fresh.data<float>()[i];
        const Doubles before = doubles_of(w);
        train(*q, w, phase);
        const double bound = kBounds[static_cast<size_t>(phase)];
        size_t wrong = 0;
        for (size_t i = 0; i < 4000; ++i) {
          const double r = std::abs(before[i]) / alpha;
          const bool centred = std::string(levels) == "binary" && std::string(bands) == "center";
          const bool joins = centred ? r < 2 * (0.5 - bound) : r >= bound && r < 1 - bound;
          if (!expected[i] && (joins || phase == 7)) {
            expected[i] = true;
            const double value = std::string(levels) == "binary" ? (before[i] >= 0 ? alpha : -alpha)
                                 : before[i] > 0.5 * alpha       ? alpha
                                 : before[i] < -0.5 * alpha      ? -alpha
                                                                 : 0;
            wrong += static_cast<double>(w.data<float>()[i]) != value;
          } else if (expected[i]) {
            wrong += static_cast<double>(w.data<float>()[i]) != before[i];
          }
          wrong += (q->mask().data<uint8_t>()[i] == 0) != expected[i];
        }
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("elq: binary, 0 and -0 belong to +alpha, the smallest negative number to -alpha") {
  const auto q = make_elq(4, {{"levels", "binary"}, {"alpha", 0.5}});
  const Tensor w = Tensor::of({0.0f, -0.0f, -1e-45f, 1e-45f});
  train(*q, w, 0);
  CHECK(values_of(q->forward({&w, 1}, {})) == std::vector<float>{0.5f, 0.5f, -0.5f, 0.5f});
}

TEST_CASE("elq: an update is eq. 15: optimizer, pull from where the weight was, clip, and fixed weights stay") {
  for (const char* levels : {"ternary", "binary"}) {
    CAPTURE(std::string(levels));
    const int64_t n = 500;
    const auto q = make_elq(n, {{"levels", levels}});
    Tensor w = normal_tensor({n}, 4, 0, 0.1f).set_requires_grad();
    const auto optimizer = Registry<Optimizer>::get().make(
        Config({{"type", "sgd"}, {"lr", 1}, {"momentum", 0.9}, {"weight_decay", 0.01}}));
    optimizer->attach({{"w", w, true, 1.0f, q->mask()}});
    Tensor momentum;
    optimizer->visit_state([&](const std::string&, Tensor& state) { momentum = state; });
    Doubles expected = doubles_of(w), velocity(static_cast<size_t>(n), 0.0);
    std::vector<bool> fixed(static_cast<size_t>(n), false);
    for (int step = 0; step < 24; ++step) {
      const int phase = step / 3;
      const double lr = step % 3 == 2 ? 0.01 : 0.02, share = step % 3 == 2 ? 0.2 : 0.4;
      train(*q, w, phase, share, lr);
      const double alpha = alpha_of(*q), bound = kBounds[static_cast<size_t>(phase)];
      const Tensor g = normal_tensor({n}, 50 + static_cast<uint64_t>(step));
      w.set_grad(g);
      optimizer->step(lr);
      q->constrain(w);
      size_t wrong = 0;
      for (size_t i = 0; i < expected.size(); ++i) {
        const bool binary = std::string(levels) == "binary";
        double at = std::clamp(expected[i], -alpha, alpha);
        const double r = std::abs(at) / alpha;
        const double centre = binary            ? (at >= 0 ? alpha : -alpha)
                              : at > alpha / 2  ? alpha
                              : at < -alpha / 2 ? -alpha
                                                : 0;
        const bool starts = step % 3 == 0;
        if (!fixed[i] && starts && (phase == 7 || (binary ? r < 1 - 2 * bound : r >= bound && r < 1 - bound))) {
          fixed[i] = true;
          at = centre;
        }
        if (!fixed[i]) {
          velocity[i] = 0.9 * velocity[i] + static_cast<double>(g.data<float>()[i]) + 0.01 * at;
          const double lambda = std::min(0.25 * alpha * share, std::abs(at - centre));
          const double sign = at > centre ? 1 : at < centre ? -1 : 0;
          at = std::clamp(at - lr * velocity[i] - lambda * sign, -alpha, alpha);
          wrong += std::abs(static_cast<double>(w.data<float>()[i]) - at) > 1e-6;
        } else {
          wrong += static_cast<double>(w.data<float>()[i]) != at;
          wrong += std::abs(momentum.data<float>()[i] - velocity[i]) > 1e-5;
        }
        // Membership must not hang on the last bit.
        expected[i] = static_cast<double>(w.data<float>()[i]);
        velocity[i] = static_cast<double>(momentum.data<float>()[i]);
      }
      CHECK(wrong == 0);
    }
    std::vector<float> values = values_of(w);
    std::ranges::sort(values);
    values.erase(std::unique(values.begin(), values.end()), values.end());
    CHECK(values == levels_of(q->grid(), 0));
  }
}

TEST_CASE("elq: without a gradient every free weight moves by lambda, and no farther than its centre") {
  const auto moved = [](const Json& options) {
    const auto q = make_elq(5, options);
    const Tensor w = Tensor::of({0.05f, -0.05f, 0.15f, -0.19f, 0.0001f});
    train(*q, w, 0, 0.5, 0.1);
    q->constrain(w);
    q->constrain(w);  // the pull is due once
    return w;
  };
  const Doubles start = {0.05, -0.05, 0.15, -0.19, 0.0001};
  CHECK(compare(moved({{"alpha", 0.2}, {"rho", 0.1}}), {0.04, -0.04, 0.16, -0.2, 0}, 0, 1e-7) == "");
  CHECK(compare(moved({{"alpha", 0.2}, {"lambda_rule", "constant"}, {"lambda", 0.02}}), {0.03, -0.03, 0.17, -0.2, 0}, 0,
                1e-7) == "");
  CHECK(compare(moved({{"alpha", 0.2}, {"lambda_rule", "lr"}, {"lambda", 0.2}}), {0.03, -0.03, 0.17, -0.2, 0}, 0,
                1e-7) == "");
  CHECK(compare(moved({{"alpha", 0.2}, {"rho", 0.1}, {"lambda_clip", false}}), {0.04, -0.04, 0.16, -0.2, -0.0099}, 0,
                1e-7) == "");
  CHECK(compare(moved({{"alpha", 0.2}, {"rho", 0}}), start, 0, 1e-7) == "");
}

TEST_CASE("elq: the gradient is taken at the mixed weight, or goes straight through the quantized one") {
  const Tensor dy = normal_tensor({6}, 9);
  const auto gradient = [&](const Json& options, Tensor& y) {
    const auto q = make_elq(6, options);
    Tensor w = Tensor::of({-0.3f, -0.15f, -0.02f, 0.05f, 0.12f, 0.19f}).set_requires_grad();
    y = train(*q, w, 0);
    backward(weighted_sum(y, dy));
    return w.grad();
  };
  Tensor y;
  CHECK(same_bits(gradient({{"alpha", 0.2}}, y), dy));
  CHECK(values_of(y) == std::vector<float>{-0.2f, -0.15f, -0.02f, 0.05f, 0.12f, 0.19f});
  CHECK(same_bits(gradient({{"alpha", 0.2}, {"forward", "ste"}}, y), dy));
  CHECK(values_of(y) == std::vector<float>{-0.2f, -0.2f, 0, 0, 0.2f, 0.2f});
  // bireal is 2 - 2|u| with u = w / alpha, and 0 at |u| = 1.
  const Tensor g = gradient({{"alpha", 0.2}, {"forward", "ste"}, {"backward", "bireal"}}, y);
  const Doubles u = {-1, -0.75, -0.1, 0.25, 0.6, 0.95};
  for (size_t i = 0; i < 6; ++i)
    CHECK(g.data<float>()[i] == doctest::Approx(dy.data<float>()[i] * (2 - 2 * std::abs(u[i]))).epsilon(1e-5));
}

TEST_CASE("elq: until the last phase evaluation may use the mixed weight") {
  const auto q = make_elq(3, {{"alpha", 0.2}, {"evaluate", "mixed"}});
  const Tensor w = Tensor::of({0.03f, 0.1001f, -0.2f});
  train(*q, w, 1);
  CHECK(std::holds_alternative<Real>(q->grid()));
  CHECK(values_of(q->forward({&w, 1}, {})) == std::vector<float>{0.03f, 0.2f, -0.2f});
  train(*q, w, 7);
  CHECK(values_of(q->forward({&w, 1}, {})) == std::vector<float>{0, 0.2f, -0.2f});
  CHECK(level_count(q->grid()) == 3);
}

TEST_CASE("elq: state and options come back, and training goes on with the same bits") {
  const Json conv{
      {"type", "conv2d"}, {"in", 2},
      {"out", 3},         {"kernel", 3},
      {"bias", false},    {"weight_quant", {{"type", "elq"}, {"channels", 3}, {"fan_in", 18}, {"levels", "binary"}}}};
  Graph graph(Shape{5, 5, 2});
  graph.add("conv", conv, {"input"});
  graph.initialize(7);
  const Tensor x = random_tensor({2, 5, 5, 2}, 1);
  const auto step = [&](const Graph& g, int phase) {
    const TrainClock clock{.phase = phase, .phases = 8, .lr = 0.1, .lr_share = 0.3};
    const Tensor y = g.forward(x, {.mode = Mode::train, .clock = &clock});
    g.node("conv").layer->after_update();
    return y;
  };
  step(graph, 0);
  step(graph, 2);
  const Graph copy = graph.clone();
  CHECK(copy.to_json() == graph.to_json());
  CHECK(parameters_of(copy)[0].traits.mask.numel() == 54);
  for (int phase : {2, 3, 6, 7}) {
    CHECK(same_bits(step(graph, phase), step(copy, phase)));
    const auto before = state_of(graph), after = state_of(copy);
    for (size_t i = 0; i < before.size(); ++i) CHECK(same_bits(before[i].tensor, after[i].tensor));
  }
}

TEST_CASE("elq: the same bits for 1 and 2 threads") {
  std::vector<Tensor> results;
  const int before = threads();
  for (const int count : {1, 2}) {
    set_threads(count);
    const auto q = make_elq(200000);
    Tensor w = normal_tensor({200000}, 6);
    train(*q, w, 0, 0.01);
    train(*q, w, 3, 0.01);
    q->constrain(w);
    results.push_back(w);
  }
  set_threads(before);
  CHECK(same_bits(results[0], results[1]));
}

TEST_CASE("elq: weights without a scale have a grid, and what cannot be is named") {
  for (const float value : {0.0f, 1e-42f, 3e38f, -3e38f}) {
    for (const char* levels : {"ternary", "binary"}) {
      CAPTURE(value);
      const auto q = make_elq(3, {{"levels", levels}});
      Tensor w = Tensor::full({3}, value);
      for (int phase = 0; phase < 8; ++phase) {
        train(*q, w, phase, 0.5);
        q->constrain(w);
      }
      check_grid(q->grid(), 1);
      for (const float v : w.data<float>()) CHECK(std::isfinite(v));
      CHECK(same_bits(w, q->forward({&w, 1}, {})));
    }
  }
  const auto q = make_elq(3);
  const Tensor w = Tensor::of({1, 2, 3});
  const TrainClock clock{.phases = 3};
  CHECK(mentions(message_of([&] { q->forward({&w, 1}, {.mode = Mode::train}); }), {"elq", "no clock"}));
  CHECK(mentions(message_of([&] { q->forward({&w, 1}, {.mode = Mode::train, .clock = &clock}); }), {"8 phases", "3"}));
  CHECK(mentions(message_of([&] { train(*make_elq(4), w, 0); }), {"elq", "1 * 4", "[3]"}));
  CHECK(mentions(message_of([&] { train(*q, Tensor::of({1, NAN, 3}), 0); }), {"elq", "element 1", "nan"}));
  CHECK(mentions(message_of([&] { train(*q, Tensor::of({1, 2, -INFINITY}), 0); }), {"elq", "element 2", "inf"}));
  CHECK(mentions(message_of([] { make_elq(3, {{"bounds", {0.5, 0.6, 0}}}); }), {"bounds", "0.6"}));
  CHECK(mentions(message_of([] { make_elq(3, {{"bounds", {0.5, 0.1}}}); }), {"bounds", "end with 0"}));
  CHECK(mentions(message_of([] { make_elq(3, {{"role", "act"}}); }), {"role", "weight"}));
}
