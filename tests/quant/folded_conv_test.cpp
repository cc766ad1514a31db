#include "quant/folded_conv.h"

#include <cmath>

#include "core/parallel.h"
#include "quant/fold_batch_norm.h"
#include "tests/layers/support.h"
#include "tests/support/gradcheck.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr Pass kTrain{Mode::train};
const Json kConv{{"type", "conv2d"}, {"in", 3}, {"out", 4}, {"pad", 1}, {"stride", 2}, {"bias", false}};

/// conv -> bn with parameters and statistics away from their defaults.
Graph float_network(Json conv = kConv, bool linear = false) {
  Graph graph(linear ? Shape{6} : Shape{7, 7, 3});
  if (linear) conv = {{"type", "linear"}, {"in", 6}, {"out", 4}, {"bias", false}};
  graph.add("conv", conv, {"input"});
  graph.add("bn", {{"type", "batch_norm"}, {"channels", 4}, {"momentum", 0.8}}, {"conv"});
  graph.initialize(3);
  uint64_t seed = 20;
  for (const NamedTensor& entry : state_of(graph))
    if (entry.tensor.rank() == 1) entry.tensor.copy_from(random_tensor(entry.tensor.shape(), seed++, 0.4f, 1.7f));
  return graph;
}

Tensor tensor_named(const Graph& graph, const std::string& name) {
  for (const NamedTensor& entry : state_of(graph))
    if (entry.name == name) return entry.tensor;
  FAIL("no tensor " << name);
  return {};
}

Tensor gradient(const Graph& graph, const std::string& name) { return tensor_named(graph, name).grad(); }

/// Output, and input gradient of a weighted sum of outputs; the parameters' gradients stay in the graph.
std::pair<Tensor, Tensor> run(const Graph& graph, const Tensor& input) {
  Tensor x = input.clone().set_requires_grad();
  const Tensor y = graph.forward(x, kTrain);
  backward(weighted_sum(y, random_tensor(y.shape(), 77)));
  return {y, x.grad()};
}

/// Section 5.2 in double, for a 1x1 convolution of rows (M x I) with weight (O x I) and a quantizer of its own.
struct Formula {
  size_t rows, in, out;
  Doubles x, w, gamma, beta, mu, var, g;
  double epsilon = 1e-5;
  Doubles y, dx, dw, dgamma, dbeta, new_mu, new_var;

  double sigma(size_t o) const { return std::sqrt(var[o] + epsilon); }
  Doubles times(const Doubles& weight) const {
    Doubles z(rows * out);
    for (size_t n = 0; n < rows; ++n)
      for (size_t o = 0; o < out; ++o)
        for (size_t i = 0; i < in; ++i) z[n * out + o] += x[n * in + i] * weight[o * in + i];
    return z;
  }
  /// `quantize` gives Wq from Wf, `mask` the slope of its straight-through estimator at Wf.
  template <class Quantize, class Mask>
  void run(const std::string& mode, bool frozen, const Quantize& quantize, const Mask& mask) {
    Doubles folded(w.size());
    for (size_t o = 0; o < out; ++o)
      for (size_t i = 0; i < in; ++i) folded[o * in + i] = gamma[o] / sigma(o) * w[o * in + i];
    const Doubles wq = quantize(folded), u = times(wq), z = times(w), slope = mask(folded);
    y.assign(rows * out, 0);
    dx.assign(x.size(), 0);
    dw.assign(w.size(), 0);
    dgamma.assign(out, 0);
    dbeta.assign(out, 0);
    new_mu = mu;
    new_var = var;
    const auto m = static_cast<double>(rows);
    for (size_t o = 0; o < out; ++o) {
      double mean = 0, square = 0;
      for (size_t n = 0; n < rows; ++n) mean += z[n * out + o] / m;
      for (size_t n = 0; n < rows; ++n) square += (z[n * out + o] - mean) * (z[n * out + o] - mean);
      if (!frozen) {
        new_mu[o] = 0.8 * mu[o] + 0.2 * mean;
        new_var[o] = 0.8 * var[o] + 0.2 * square / (m - 1);
      }
      const bool corrected = mode == "corrected" && !frozen;
      const double sb = std::sqrt(square / m + epsilon), s = sigma(o);
      const double rho = corrected ? s / sb : 1, shift = corrected ? mean / sb : mu[o] / s;
      double sum = 0, drho = 0;
      for (size_t n = 0; n < rows; ++n) {
        const size_t k = n * out + o;
        y[k] = rho * u[k] + beta[o] - gamma[o] * shift;
        sum += g[k];
        drho += g[k] * u[k];
      }
      dbeta[o] = sum;
      dgamma[o] = -shift * sum;
      const double dmean = -gamma[o] / sb * sum;
      const double dsb = gamma[o] * mean / (sb * sb) * sum - s / (sb * sb) * drho;
      for (size_t n = 0; n < rows; ++n) {
        const size_t k = n * out + o;
        const double du = rho * g[k];
        const double dz = corrected ? dmean / m + dsb * (z[k] - mean) / (m * sb) : 0;
        for (size_t i = 0; i < in; ++i) {
          const double dwf = du * x[n * in + i] * slope[o * in + i];
          dx[n * in + i] += du * wq[o * in + i] + dz * w[o * in + i];
          dw[o * in + i] += gamma[o] / s * dwf + dz * x[n * in + i];
          dgamma[o] += dwf * w[o * in + i] / s;
        }
      }
    }
  }
};

}  // namespace

TEST_CASE("folded conv: without a quantizer output, gradients and statistics are those of conv -> batch_norm") {
  for (const bool linear : {false, true}) {
    CAPTURE(linear);
    const Graph real = float_network(kConv, linear), folded = fold_batch_norm(real);
    REQUIRE(folded.nodes().size() == 1);
    CHECK(folded.nodes()[0].layer->type() == (linear ? "linear_bn" : "conv2d_bn"));
    const Tensor x = linear ? random_tensor({9, 6}, 1) : random_tensor({4, 7, 7, 3}, 1);
    for (int step = 0; step < 3; ++step) {
      const auto [y, dx] = run(real, x);
      const auto [z, dz] = run(folded, x);
      CHECK(compare(z, doubles_of(y), 3e-6) == "");
      CHECK(compare(dz, doubles_of(dx), 2e-5) == "");
      CHECK(compare(gradient(folded, "conv.weight"), doubles_of(gradient(real, "conv.weight")), 2e-5) == "");
      CHECK(compare(gradient(folded, "conv.bn.weight"), doubles_of(gradient(real, "bn.weight")), 2e-5) == "");
      CHECK(compare(gradient(folded, "conv.bn.bias"), doubles_of(gradient(real, "bn.bias")), 2e-5) == "");
      for (const char* name : {"bn.running_mean", "bn.running_var"})
        CHECK(compare(tensor_named(folded, concat_text("conv.", name)), doubles_of(tensor_named(real, name)), 1e-6) ==
              "");
    }
    CHECK(compare(folded.forward(x, {}), doubles_of(real.forward(x, {})), 3e-6) == "");
  }
}

TEST_CASE("folded conv: every mode follows section 5.2, forward and backward, with a quantizer") {
  struct Case {
    std::string mode;
    int64_t freeze;
    bool frozen;
  };
  for (const Case& c : {Case{"corrected", -1, false}, Case{"corrected", 0, true}, Case{"plain", -1, false},
                        Case{"plain", 0, true}, Case{"corrected", 1, false}}) {
    CAPTURE(c.mode);
    CAPTURE(c.freeze);
    Graph graph(Shape{5, 3, 3});
    graph.add("conv",
              {{"type", "conv2d_bn"},
               {"in", 3},
               {"out", 4},
               {"kernel", 1},
               {"momentum", 0.8},
               {"mode", c.mode},
               {"freeze", c.freeze},
               {"weight_quant", {{"type", "affine"}, {"role", "weight"}, {"bits", 4}}}},
              {"input"});
    graph.initialize(1);
    uint64_t seed = 40;
    for (const NamedTensor& entry : state_of(graph))
      if (entry.tensor.dtype() == DType::f32 && entry.tensor.rank() == 1)
        entry.tensor.copy_from(random_tensor(entry.tensor.shape(), seed++, 0.4f, 1.7f));
    const auto at = [&](const char* name) { return doubles_of(tensor_named(graph, name)); };
    const Tensor x = random_tensor({2, 5, 3, 3}, 5, -0.5f, 1.5f);
    Formula f{30,
              3,
              4,
              doubles_of(x),
              at("conv.weight"),
              at("conv.bn.weight"),
              at("conv.bn.bias"),
              at("conv.bn.running_mean"),
              at("conv.bn.running_var"),
              doubles_of(random_tensor({2, 5, 3, 4}, 77)),
              1e-5,
              {},
              {},
              {},
              {},
              {},
              {},
              {}};
    double s = 0, nmin = 0, nmax = 0;
    const auto quantize = [&](Doubles v) {
      double low = 0, high = 0;
      for (const double a : v) low = std::fmin(low, a), high = std::fmax(high, a);
      s = (high - low) / 14;
      const double z = std::round(1 - low / s);
      nmin = (1 - z) * s;
      nmax = (15 - z) * s;
      for (double& a : v) a = std::floor((std::fmin(std::fmax(a, nmin), nmax) - nmin) / s + 0.5) * s + nmin;
      return v;
    };
    const auto mask = [&](const Doubles& v) {
      return Doubles(v.size(), 1);  // all are inside of a range that is their own
    };
    f.run(c.mode, c.frozen, quantize, mask);
    const auto [y, dx] = run(graph, x);
    CHECK(compare(y, f.y, 1e-5) == "");
    CHECK(compare(dx, f.dx, 2e-5) == "");
    CHECK(compare(gradient(graph, "conv.weight"), f.dw, 2e-5) == "");
    CHECK(compare(gradient(graph, "conv.bn.weight"), f.dgamma, 2e-5) == "");
    CHECK(compare(gradient(graph, "conv.bn.bias"), f.dbeta, 2e-5) == "");
    CHECK(compare(tensor_named(graph, "conv.bn.running_mean"), f.new_mu, 1e-6) == "");
    CHECK(compare(tensor_named(graph, "conv.bn.running_var"), f.new_var, 1e-6) == "");
    const Tensor trained = graph.forward(x, kTrain);
    CHECK(same_bits(trained, graph.forward(x, {})) == (c.freeze >= 0));
  }
}

TEST_CASE("folded conv: with one gradient for both convolutions outputs, gradients and statistics are the same") {
  struct Case {
    Json conv;
    Shape image;
    int bits;
    float scale = 1;  ///< of all gammas
  };
  for (const Case& c :
       std::vector<Case>{{{{"in", 16}, {"out", 24}, {"pad", 1}}, {16, 16, 16}, 8},  // Winograd, and bf16 where there is
                         {{{"in", 16}, {"out", 34}, {"pad", 1}, {"stride", 2}}, {9, 8, 16}, 8},  // direct
                         {{{"in", 16}, {"out", 24}, {"pad", 1}}, {16, 16, 16}, 4, 0.01f},
                         {{{"in", 16}, {"out", 24}, {"pad", 1}}, {16, 16, 16}, 4},  // too coarse for bf16
                         {{{"in", 3}, {"out", 5}, {"pad", 1}}, {8, 9, 3}, 8},
                         {{{"in", 6}, {"out", 6}, {"pad", 1}, {"groups", 6}}, {8, 9, 6}, 8},
                         {{{"in", 8}, {"out", 4}, {"kernel", 1}}, {8, 9, 8}, 8}}) {
    CAPTURE(c.conv.dump());
    CAPTURE(c.bits);
    const auto network = [&](const Json& more) {
      Json quantizer{{"type", "affine"}, {"role", "weight"}, {"bits", c.bits}}, conv{{"type", "conv2d_bn"}};
      quantizer.update(more);
      conv.update(c.conv);
      conv["weight_quant"] = quantizer;
      Graph graph(c.image);
      graph.add("conv", conv, {"input"});
      graph.initialize(1);
      uint64_t seed = 40;
      for (const NamedTensor& entry : state_of(graph))
        if (entry.tensor.dtype() == DType::f32 && entry.tensor.rank() == 1)
          entry.tensor.copy_from(random_tensor(entry.tensor.shape(), seed++, 0.4f, 1.7f));
      for (float& gamma : tensor_named(graph, "conv.bn.weight").mutable_data<float>()) gamma *= c.scale;
      return graph;
    };
    // A rule of its own makes two convolutions of it, and two gradients.
    const Graph joint = network(Json::object()), apart = network({{"backward", "identity"}});
    const Tensor x = random_tensor({4, c.image[0], c.image[1], c.image[2]}, 5, -0.5f, 1.5f);
    const auto [y, dx] = run(joint, x);
    const auto [z, dz] = run(apart, x);
    // What 4 bits add to a weight is too much for bf16; Winograd's gradients differ by up to 8e-6 without it.
    CHECK(compare(y, doubles_of(z), c.bits == 8 ? 5e-5 : 5e-6) == "");
    CHECK(compare(dx, doubles_of(dz), c.bits == 8 ? 5e-5 : 1.5e-5) == "");
    for (const char* name : {"conv.weight", "conv.bn.weight", "conv.bn.bias"})
      CHECK(compare(gradient(joint, name), doubles_of(gradient(apart, name)), 5e-5) == "");
    for (const char* name : {"conv.bn.running_mean", "conv.bn.running_var"})
      CHECK(compare(tensor_named(joint, name), doubles_of(tensor_named(apart, name)), 1e-6) == "");
  }
}

TEST_CASE("folded conv: a batch of several parts gives the same bits for every number of threads") {
  std::vector<std::pair<Tensor, Tensor>> results;
  const int before = threads();
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    Graph graph(Shape{32, 32, 16});
    graph.add("conv",
              {{"type", "conv2d_bn"},
               {"in", 16},
               {"out", 16},
               {"pad", 1},
               {"weight_quant", {{"type", "affine"}, {"role", "weight"}}}},
              {"input"});
    graph.initialize(1);
    results.push_back(run(graph, random_tensor({25, 32, 32, 16}, 5)));
  }
  set_threads(before);
  for (const auto& [y, dx] : results) {
    CHECK(same_bits(y, results[0].first));
    CHECK(same_bits(dx, results[0].second));
  }
}

TEST_CASE("folded conv: statistics freeze for the last tenth of training, another share, or after given passes") {
  const auto frozen_from = [](const Json& options, bool clocked = true) {
    Json json{{"type", "conv2d_bn"}, {"in", 3}, {"out", 4}};
    json.update(options);
    const auto conv = Registry<Layer>::get().make(Config(json));
    conv->initialize(Rng(1));
    Graph graph(Shape{7, 7, 3});
    graph.add("conv", conv, {"input"});
    for (int step = 0; step < 20; ++step) {
      const TrainClock clock{.step = step, .total_steps = 20};
      const Tensor before = tensor_named(graph, "conv.bn.running_mean").clone();
      graph.forward(random_tensor({2, 7, 7, 3}, 100 + static_cast<uint64_t>(step)),
                    {.mode = Mode::train, .step = step, .clock = clocked ? &clock : nullptr});
      if (same_bits(before, tensor_named(graph, "conv.bn.running_mean"))) return step;
    }
    return -1;
  };
  CHECK(frozen_from(Json::object()) == 18);
  CHECK(frozen_from({{"freeze_share", 0.5}}) == 10);
  CHECK(frozen_from({{"freeze_share", 0}}) == -1);
  CHECK(frozen_from({{"freeze", 7}}) == 7);
  CHECK(frozen_from(Json::object(), false) == -1);
}

TEST_CASE("folded conv: in evaluation an image's output does not depend on its batch mates or change the state") {
  Graph graph = fold_batch_norm(float_network());
  graph.nodes()[0].layer->weight_slot()->set(make_layer({{"type", "affine"}, {"role", "weight"}}));
  const Tensor one = random_tensor({1, 7, 7, 3}, 1);
  Tensor two = random_tensor({2, 7, 7, 3}, 2, -9, 9);
  std::ranges::copy(one.data<float>(), two.mutable_data<float>().begin() + one.numel());
  const std::vector<float> alone = values_of(graph.forward(one, {}));
  const std::vector<float> both = values_of(graph.forward(two, {}));
  CHECK(std::vector<float>(both.end() - static_cast<int64_t>(alone.size()), both.end()) == alone);
  CHECK(tensor_named(graph, "conv.bn.passes").data<int64_t>()[0] == 0);
}

TEST_CASE("folded conv: the facts are the folded weight on its grid and the folded bias") {
  const Graph real = float_network();
  const Graph graph = fold_batch_norm(real);
  graph.nodes()[0].layer->weight_slot()->set(make_layer({{"type", "affine"}, {"role", "weight"}, {"bits", 5}}));
  const GemmForm gemm = *graph.nodes()[0].layer->facts().gemm;
  CHECK(same_bits(snap(gemm.weight, gemm.weight_grid), gemm.weight));
  CHECK(level_count(gemm.weight_grid) == 31);
  const Doubles gamma = doubles_of(tensor_named(real, "bn.weight")), beta = doubles_of(tensor_named(real, "bn.bias"));
  const Doubles mean = doubles_of(tensor_named(real, "bn.running_mean"));
  const Doubles var = doubles_of(tensor_named(real, "bn.running_var")),
                w = doubles_of(tensor_named(real, "conv.weight"));
  const double step = std::get<Uniform>(gemm.weight_grid).scale[0];
  for (size_t c = 0; c < 4; ++c) {
    const double sigma = std::sqrt(var[c] + 1e-5);
    CHECK(gemm.bias[c] == doctest::Approx(beta[c] - gamma[c] * mean[c] / sigma).epsilon(1e-6));
    for (size_t i = 27 * c; i < 27 * (c + 1); ++i)
      CHECK(std::abs(gemm.weight.data<float>()[i] - gamma[c] / sigma * w[i]) <= step * 0.5001 + 1e-6);
  }
  const Tensor x = random_tensor({2, 7, 7, 3}, 9);
  CHECK(same_bits(graph.forward(x, {}), conv2d(x, gemm.weight, Tensor::from({4}, gemm.bias), gemm.geometry)));
}

TEST_CASE("folded conv: state has the names that the batch norm's have, survives a clone, and threads do not matter") {
  Graph graph = fold_batch_norm(float_network());
  graph.nodes()[0].layer->weight_slot()->set(make_layer({{"type", "affine"}, {"role", "weight"}}));
  std::vector<std::string> names;
  for (const NamedTensor& entry : state_of(graph)) names.push_back(entry.name);
  CHECK(names == std::vector<std::string>{"conv.weight", "conv.bn.weight", "conv.bn.bias", "conv.bn.running_mean",
                                          "conv.bn.running_var", "conv.bn.passes", "conv.weight_quantizer.range",
                                          "conv.weight_quantizer.state"});
  const Tensor x = random_tensor({16, 7, 7, 3}, 1);
  run(graph, x);
  const Graph copy = graph.clone();
  CHECK(copy.to_json() == graph.to_json());
  const int before = threads();
  set_threads(1);
  const auto one = run(graph, x);
  set_threads(2);
  const auto two = run(copy, x);
  set_threads(before);
  CHECK(same_bits(one.first, two.first));
  CHECK(same_bits(one.second, two.second));
  for (const NamedTensor& entry : state_of(graph)) CHECK(same_bits(entry.tensor, tensor_named(copy, entry.name)));
}

TEST_CASE("folded conv: wrong options and a batch without variance are refused by name") {
  CHECK(mentions(message_of([] {
                   make_layer({{"type", "conv2d_bn"}, {"in", 3}, {"out", 4}, {"mode", "best"}});
                 }),
                 {"mode", "corrected"}));
  CHECK(mentions(message_of([] {
                   make_layer({{"type", "conv2d_bn"}, {"in", 3}, {"out", 4}, {"groups", 2}});
                 }),
                 {"groups", "3"}));
  Graph graph(Shape{1, 1, 2});
  graph.add("here", {{"type", "conv2d_bn"}, {"in", 2}, {"out", 2}, {"kernel", 1}}, {"input"});
  CHECK(mentions(message_of([&] {
                   graph.forward(Tensor::zeros({1, 1, 1, 2}), kTrain);
                 }),
                 {"conv2d_bn 'here'", "2 values per channel"}));
}
