#include "quant/calibrate.h"

#include <cmath>

#include "quant/affine.h"
#include "quant/policy.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Histogram histogram_of(const Tensor& x, int bins = 2048) {
  const Extremes e = finite_extremes("test", x, 1)[0];
  Histogram h(e.lowest, e.highest, bins);
  h.add(x.data<float>());
  return h;
}

double squared_error(const Tensor& x, const Extremes& range, int qmax) {
  const AffineRange r = nudge(range.lowest, range.highest, 0, qmax);
  double sum = 0;
  for (const double v : doubles_of(x)) {
    const double y = r.scale * std::fmin(std::fmax(std::floor(v / r.scale + 0.5), r.lo), r.hi);
    sum += (y - v) * (y - v);
  }
  return sum;
}

/// Normal values and one far outlier.
Tensor with_outlier(uint64_t seed, float outlier) {
  Tensor x = normal_tensor({20000}, seed);
  x.mutable_data<float>()[7] = outlier;
  return x;
}

}  // namespace

TEST_CASE("calibrate: a histogram counts every value once, at its place") {
  Histogram h(-1, 3, 4);
  const std::vector<float> values{-1, -0.5f, 0, 0.99f, 1, 2.5f, 3, -7, 9};
  h.add(values);
  CHECK(h.counts == std::vector<int64_t>{3, 2, 1, 3});
  CHECK(h.center(1) == 0.5);
}

TEST_CASE("calibrate: min_max takes all, percentile cuts the tails") {
  const Tensor x = with_outlier(1, 80);
  const Histogram h = histogram_of(x);
  CHECK(choose_range(h, {"min_max"}, 0, 255).highest == 80);
  const Extremes cut = choose_range(h, {"percentile", 99.9}, 0, 255);
  std::vector<double> sorted = doubles_of(x);
  std::ranges::sort(sorted);
  CHECK(std::abs(cut.highest - sorted[20000 - 21]) < 2 * h.width());
  CHECK(std::abs(cut.lowest - sorted[20]) < 2 * h.width());
  const Extremes positive = choose_range(histogram_of(random_tensor({1000}, 2, 0, 1)), {"percentile", 90}, 0, 255);
  CHECK(positive.lowest == 0);
  CHECK(std::abs(positive.highest - 0.9) < 0.03);
}

TEST_CASE("calibrate: mse finds a range that no other of a fine search beats by much") {
  const Tensor x = with_outlier(3, 30);
  const Histogram h = histogram_of(x);
  for (const int bits : {4, 6, 8}) {
    CAPTURE(bits);
    const int qmax = (1 << bits) - 1;
    const double found = squared_error(x, choose_range(h, {"mse"}, 0, qmax), qmax);
    double best = squared_error(x, choose_range(h, {"min_max"}, 0, qmax), qmax);
    if (bits == 4) CHECK(found < 0.2 * best);
    for (int i = 1; i <= 40; ++i)
      for (int j = 1; j <= 40; ++j)
        best = std::fmin(
            best, squared_error(x, {-4.5f * static_cast<float>(i) / 40, 30.f * static_cast<float>(j) / 40}, qmax));
    CHECK(found <= 1.1 * best);
  }
}

TEST_CASE("calibrate: kl cuts outliers off and keeps a flat distribution") {
  Tensor x = normal_tensor({200000}, 4);
  for (size_t i = 0; i < 200000; ++i) x.mutable_data<float>()[i] = std::abs(x.data<float>()[i]);
  x.mutable_data<float>()[5] = 60;
  const Extremes cut = choose_range(histogram_of(x), {"kl"}, 0, 15);
  CHECK(cut.lowest == 0);
  CHECK(cut.highest > 2);
  CHECK(cut.highest < 10);
  for (size_t i = 0; i < 200000; i += 2) x.mutable_data<float>()[i] = 0;  // as a ReLU makes them: on every grid
  const Extremes rectified = choose_range(histogram_of(x), {"kl"}, 0, 15);
  CHECK(std::abs(rectified.highest - cut.highest) < 1.5f);
  const Extremes flat = choose_range(histogram_of(random_tensor({200000}, 5, 0, 1)), {"kl"}, 0, 255);
  CHECK(flat.highest > 0.9);
}

TEST_CASE("calibrate: symmetric ranges stay symmetric, degenerate histograms are harmless") {
  const Histogram h = histogram_of(with_outlier(6, 20));
  for (const char* method : {"min_max", "percentile", "mse", "kl"}) {
    CAPTURE(method);
    const Extremes e = choose_range(h, {method}, 1, 15, true);
    CHECK(e.lowest == -e.highest);
    CHECK(e.highest > 0);
    for (const Tensor& x :
         {Tensor::zeros({5}), Tensor::full({5}, 2), Tensor::full({1}, -3), Tensor::full({3}, 1e-40f)}) {
      const Extremes odd = choose_range(histogram_of(x), {method}, 0, 255);
      CHECK(odd.lowest <= 0);
      CHECK(odd.highest >= 0);
      CHECK(std::isfinite(odd.highest - odd.lowest));
      const double widest = std::abs(x.data<float>()[0]);
      CHECK(std::fmax(-odd.lowest, odd.highest) <= widest * 1.0001);
      CHECK(std::fmax(-odd.lowest, odd.highest) >= widest * 0.98);
    }
  }
  CHECK(mentions(message_of([&] { choose_range(h, {"guess"}, 0, 255); }), {"guess", "percentile"}));
}

TEST_CASE("calibrate: a network quantized to 8 bits without training stays close to the float one") {
  const Graph real = trained_model({{"type", "resnet_cifar"}, {"depth", 8}, {"width", 8}, {"input", {8, 8, 3}}});
  const Tensor batches[] = {normal_tensor({8, 8, 8, 3}, 1), normal_tensor({8, 8, 8, 3}, 2)};
  const Tensor x = normal_tensor({8, 8, 8, 3}, 3), expected = real.forward(x, {});
  for (const char* method : {"min_max", "percentile", "mse", "kl"}) {
    CAPTURE(method);
    const Graph graph = quantize(real, Config(Json::array({{{"match", "*"},
                                                            {"place", "outputs"},
                                                            {"fold_batch_norm", Json::object()},
                                                            {"weight", {{"type", "affine"}}},
                                                            {"act", {{"type", "affine"}}}}})));
    calibrate(graph, batches, {method});
    double error = 0, size = 0;
    const Tensor y = graph.forward(x, {});
    for (size_t i = 0; i < y.data<float>().size(); ++i) {
      const double e = expected.data<float>()[i], d = y.data<float>()[i] - e;
      error += d * d;
      size += e * e;
    }
    CHECK(error < 0.01 * size);
    // Training goes on from these ranges: one batch moves them by a thousandth.
    const auto* act = dynamic_cast<const Affine*>(graph.node("relu1.out").layer.get());
    const float before = std::get<Uniform>(act->grid()).scale[0];
    const Tensor wide = normal_tensor({8, 8, 8, 3}, 4, 0, 3);
    graph.clone().forward(wide, {Mode::train});
    graph.forward(wide, {Mode::train});
    const float after = std::get<Uniform>(act->grid()).scale[0];
    CHECK(after != before);
    CHECK(std::abs(after - before) < 0.01f * before);
  }
}

TEST_CASE("calibrate: weights get fixed ranges per channel, activations need data") {
  Graph graph(Shape{4, 4, 2});
  graph.add(
      "conv",
      {{"type", "conv2d"},
       {"in", 2},
       {"out", 3},
       {"weight_quant", {{"type", "affine"}, {"role", "weight"}, {"bits", 4}, {"per_channel", true}, {"channels", 3}}}},
      {"input"});
  graph.initialize(1);
  const Tensor weight = state_of(graph)[0].tensor;
  weight.mutable_data<float>()[3] = 40;  // an outlier of the first channel
  calibrate(graph, {}, {"mse"});
  const Grid grid = graph.node("conv").layer->facts().gemm->weight_grid;
  CHECK(levels_of(grid, 0).back() < 40.1f);
  weight.mutable_data<float>()[20] = 500;
  CHECK(levels_of(graph.node("conv").layer->facts().gemm->weight_grid, 1) == levels_of(grid, 1));
  graph.add("act", {{"type", "affine"}}, {"conv"});
  CHECK(mentions(message_of([&] { calibrate(graph, {}, {"mse"}); }), {"'act'", "batch"}));
}
