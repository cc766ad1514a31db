#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// Rastegari et al. in double; w is filters x n.
struct Expected {
  Doubles y, dw;
};
Expected paper(const Tensor& w, const Tensor& dy, size_t filters, const std::string& gradient, double inputs) {
  const Doubles v = doubles_of(w), g = doubles_of(dy);
  const size_t n = v.size() / filters;
  Expected e;
  for (size_t f = 0; f < filters; ++f) {
    double alpha = 0;
    for (size_t i = 0; i < n; ++i) alpha += std::abs(v[f * n + i]) / static_cast<double>(n);
    for (size_t i = f * n; i < (f + 1) * n; ++i) {
      e.y.push_back(alpha * sign_of(v[i]));
      double factor = 1;
      if (gradient != "identity") factor = 1.0 / static_cast<double>(n) + alpha * (std::abs(v[i]) < 1);
      if (gradient == "code") factor *= static_cast<double>(n) * (inputs > 1 ? 1 - 1 / inputs : 1);
      e.dw.push_back(g[i] * factor);
    }
  }
  return e;
}

}  // namespace

TEST_CASE("bwn: keeps the promises of a quantizer") {
  const Tensor w = normal_tensor({6, 5, 41, 41}, 1, 0.1f, 0.6f);
  for (const char* gradient : {"paper", "code", "identity"}) {
    const Json json{{"type", "bwn"}, {"gradient", gradient}};
    CHECK(broken_promise(json, w) == "");
    CHECK(breaks_at_edges(json) == "");
  }
  CHECK(broken_promise({{"type", "bwn"}, {"per_channel", false}}, w) == "");
}

TEST_CASE("bwn: values and gradients are the paper's") {
  const Tensor w = normal_tensor({4, 3, 3, 3}, 2, 0, 0.8f), dy = normal_tensor({4, 3, 3, 3}, 3);
  w.mutable_data<float>()[5] = 0;
  w.mutable_data<float>()[6] = 1;  // outside: |w| < 1 is strict
  for (const char* gradient : {"paper", "code", "identity"})
    for (const bool per_channel : {true, false}) {
      CAPTURE(gradient);
      CAPTURE(per_channel);
      const auto q = make_layer({{"type", "bwn"}, {"gradient", gradient}, {"per_channel", per_channel}});
      const Passed passed = train_pass(*q, w, dy);
      const Expected e = paper(w, dy, per_channel ? 4 : 1, gradient, 3);
      CHECK(compare(passed.y, e.y, 1e-6) == "");
      CHECK(compare(passed.dx, e.dw, 1e-6) == "");
    }
}

TEST_CASE("bwn: the worked example has alpha 0.40714286") {
  const Tensor w = example_weights().view({1, 7});
  const Tensor y = run_layer({{"type", "bwn"}}, w);
  const double a = 0.40714286;
  CHECK(compare(y, {-a, -a, -a, a, a, a, a}, 1e-7) == "");
}

TEST_CASE("bwn: one filter's scale does not touch another's, and a filter of zeros stays zero") {
  const Tensor w = Tensor::from({3, 2}, {0.5f, -1.5f, 0, 0, -3, 5});
  CHECK(values_of(run_layer({{"type", "bwn"}}, w)) == std::vector<float>{1, -1, 0, 0, -4, 4});
}

TEST_CASE("bwn: an update is centred over the input channels and then clamped") {
  const Tensor w = normal_tensor({3, 4, 2, 2}, 5, 0.3f, 1.2f), before = w.clone();
  make_quantizer({{"type", "bwn"}})->constrain(w);
  Doubles expected;
  for (int64_t o = 0; o < 3; ++o)
    for (int64_t i = 0; i < 4; ++i)
      for (int64_t p = 0; p < 4; ++p) {
        double mean = 0;
        for (int64_t j = 0; j < 4; ++j) mean += before.data<float>()[static_cast<size_t>(o * 16 + j * 4 + p)] / 4.0;
        const double v = before.data<float>()[static_cast<size_t>(o * 16 + i * 4 + p)] - mean;
        expected.push_back(std::clamp(v, -1.0, 1.0));
      }
  CHECK(compare(w, expected, 1e-6) == "");

  const Tensor kept = before.clone();
  make_quantizer({{"type", "bwn"}, {"center", false}, {"clamp", false}})->constrain(kept);
  CHECK(same_bits(kept, before));
}

TEST_CASE("bwn: depthwise weights, which have one input channel, are not centred away") {
  const Tensor w = Tensor::from({2, 1, 1, 2}, {0.25f, -0.5f, 3, 0.75f});
  make_quantizer({{"type", "bwn"}})->constrain(w);
  CHECK(values_of(w) == std::vector<float>{0.25f, -0.5f, 1, 0.75f});
}

TEST_CASE("bwn: a convolution carries it, with two levels per output channel") {
  const auto conv =
      make_layer({{"type", "conv2d"}, {"in", 3}, {"out", 4}, {"kernel", 3}, {"weight_quant", {{"type", "bwn"}}}});
  conv->initialize(Rng(1));
  const Facts facts = conv->facts();
  CHECK(channel_count(facts.gemm->weight_grid) == 4);
  CHECK(level_count(facts.gemm->weight_grid) == 2);
  CHECK(off_grid(facts.gemm->weight, facts.gemm->weight_grid) == "");
  CHECK(same_bits(decode(encode(facts.gemm->weight, facts.gemm->weight_grid), facts.gemm->weight_grid),
                  facts.gemm->weight));
}
