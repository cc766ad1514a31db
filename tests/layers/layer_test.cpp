#include <cmath>

#include "layers/geometry.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Shape shape_of(const Json& layer, const Shape& input) { return run_layer(layer, Tensor::zeros(input)).shape(); }

/// y as the layer's pointwise facts say, in double precision.
std::vector<double> by_facts(const AffineClamp& form, const Tensor& x) {
  const auto at = [](const std::vector<float>& list, size_t c) -> double { return list[list.size() == 1 ? 0 : c]; };
  std::vector<double> y;
  const auto channels = static_cast<size_t>(x.dim(-1));
  for (size_t i = 0; i < x.data<float>().size(); ++i) {
    const size_t c = i % channels;
    const double v = at(form.a, c) * x.data<float>()[i] + at(form.b, c);
    y.push_back(std::clamp(v, at(form.lo, c), at(form.hi, c)));
  }
  return y;
}

}  // namespace

TEST_CASE("conv2d: shapes follow stride, padding, dilation and groups") {
  const Json base{{"type", "conv2d"}, {"in", 4}, {"out", 6}};
  const auto with = [&base](const Json& more) {
    Json json = base;
    json.update(more);
    return json;
  };
  CHECK(shape_of(base, {2, 9, 7, 4}) == Shape{2, 7, 5, 6});
  CHECK(shape_of(with({{"pad", 1}, {"stride", 2}}), {2, 9, 7, 4}) == Shape{2, 5, 4, 6});
  CHECK(shape_of(with({{"pad", {0, 1, 2, 0}}}), {1, 9, 7, 4}) == Shape{1, 8, 7, 6});
  CHECK(shape_of(with({{"kernel", {1, 3}}, {"stride", {1, 2}}}), {1, 9, 7, 4}) == Shape{1, 9, 3, 6});
  CHECK(shape_of(with({{"dilation", 2}}), {1, 9, 7, 4}) == Shape{1, 5, 3, 6});
  CHECK(shape_of(with({{"groups", 2}}), {1, 9, 7, 4}) == Shape{1, 7, 5, 6});
}

TEST_CASE("conv2d: \"same\" is TensorFlow's rule, worked out for each input") {
  CHECK(same_padding(224, 224, {3, 3}, {2, 2}) == Padding{0, 1, 0, 1});
  CHECK(same_padding(32, 7, {3, 3}, {1, 2}) == Padding{1, 1, 1, 1});
  CHECK(same_padding(5, 5, {1, 1}, {3, 3}) == Padding{});
  CHECK(same_padding(8, 8, {3, 2}, {1, 1}, {2, 1}) == Padding{2, 2, 0, 1});
  const Json json{{"type", "conv2d"}, {"in", 1}, {"out", 1}, {"kernel", 3}, {"stride", 2}, {"pad", "same"}};
  CHECK(shape_of(json, {1, 8, 7, 1}) == Shape{1, 4, 4, 1});
  CHECK(shape_of(json, {1, 9, 9, 1}) == Shape{1, 5, 5, 1});
}

TEST_CASE("conv2d and linear: the gemm facts reproduce the forward pass") {
  for (const Json& pad : {Json(1), Json("same")}) {
    const auto conv = make_layer(
        {{"type", "conv2d"}, {"in", 4}, {"out", 6}, {"stride", 2}, {"pad", pad}, {"groups", 2}, {"bias", true}});
    conv->initialize(Rng(3));
    const Tensor x = random_tensor({2, 8, 7, 4}, 1);
    const Facts facts = conv->facts();
    REQUIRE(facts.gemm);
    CHECK(std::holds_alternative<Real>(facts.gemm->weight_grid));
    const Tensor y =
        conv2d(x, facts.gemm->weight, Tensor::from({6}, facts.gemm->bias), geometry_for(*facts.gemm, x.shape()));
    CHECK(same_bits(conv->forward({&x, 1}, {}), y));
  }
  const auto dense = make_layer({{"type", "linear"}, {"in", 7}, {"out", 3}});
  dense->initialize(Rng(3));
  const Tensor x = random_tensor({4, 7}, 1);
  const Facts facts = dense->facts();
  REQUIRE(facts.gemm);
  CHECK(same_bits(dense->forward({&x, 1}, {}), linear(x, facts.gemm->weight, Tensor::from({3}, facts.gemm->bias))));
}

TEST_CASE("batch_norm, relu, relu6: the pointwise facts reproduce evaluation") {
  Graph graph(Shape{4, 4, 3});
  graph.add("bn", {{"type", "batch_norm"}, {"channels", 3}, {"epsilon", 1e-3}}, {"input"});
  for (const NamedTensor& entry : state_of(graph))
    entry.tensor.copy_from(random_tensor(entry.tensor.shape(), entry.name.size(), 0.25f, 2.f));
  const Tensor x = random_tensor({2, 4, 4, 3}, 9, -8, 8);
  CHECK(compare(graph.forward(x, {}), by_facts(*graph.node("bn").layer->facts().pointwise, x), 1e-6) == "");
  for (const char* type : {"relu", "relu6"}) {
    const auto layer = make_layer({{"type", type}});
    CHECK(compare(layer->forward({&x, 1}, {}), by_facts(*layer->facts().pointwise, x), 0) == "");
  }
}

TEST_CASE("batch_norm: training moves the running statistics, evaluation does not; scale and offset can be left out") {
  Graph graph(Shape{4, 4, 3});
  graph.add("bn", {{"type", "batch_norm"}, {"channels", 3}, {"scale", false}, {"offset", false}}, {"input"});
  CHECK(parameters_of(graph).empty());
  const Tensor mean = state_of(graph)[0].tensor;
  const Tensor x = random_tensor({2, 4, 4, 3}, 9, 1, 8);
  graph.forward(x, {});
  CHECK(mean.data<float>()[0] == 0.f);
  graph.forward(x, {Mode::train});
  CHECK(mean.data<float>()[0] > 0.1f);
}

TEST_CASE("pools: the stride is the kernel unless given, and ceil_mode rounds up") {
  CHECK(shape_of({{"type", "max_pool"}, {"kernel", 3}}, {1, 9, 9, 2}) == Shape{1, 3, 3, 2});
  CHECK(shape_of({{"type", "max_pool"}, {"kernel", 3}, {"stride", 2}}, {1, 8, 8, 2}) == Shape{1, 3, 3, 2});
  CHECK(shape_of({{"type", "max_pool"}, {"kernel", 3}, {"stride", 2}, {"ceil_mode", true}}, {1, 8, 8, 2}) ==
        Shape{1, 4, 4, 2});
  CHECK(shape_of({{"type", "avg_pool"}, {"kernel", {2, 1}}}, {1, 8, 8, 2}) == Shape{1, 4, 8, 2});
  CHECK(shape_of({{"type", "avg_pool"}, {"kernel", 3}, {"stride", 2}, {"pad", "same"}}, {1, 7, 8, 2}) ==
        Shape{1, 4, 4, 2});
  CHECK(shape_of({{"type", "global_avg_pool"}}, {3, 7, 8, 2}) == Shape{3, 2});
  const Tensor x = Tensor::full({1, 3, 3, 1}, 6);
  const Json corner{{"type", "avg_pool"}, {"kernel", 2}, {"pad", 1}};
  CHECK(run_layer(corner, x).data<float>()[0] == 6.f);
  Json counted = corner;
  counted["count_padding"] = true;
  CHECK(run_layer(counted, x).data<float>()[0] == 1.5f);
}

TEST_CASE("shortcut_a: the four variants take the pixels and place the channels as described") {
  const Tensor x = random_tensor({1, 4, 4, 2}, 4);
  const auto at = [](const Tensor& t, int64_t h, int64_t w, int64_t c) {
    return t.data<float>()[static_cast<size_t>((h * t.dim(2) + w) * t.dim(3) + c)];
  };
  const Json base{{"type", "shortcut_a"}, {"out", 4}};
  const Tensor both = run_layer(base, x);
  CHECK(both.shape() == Shape{1, 2, 2, 4});
  CHECK(at(both, 1, 1, 1) == at(x, 2, 2, 0));
  CHECK(at(both, 1, 1, 2) == at(x, 2, 2, 1));
  CHECK(at(both, 1, 1, 0) == 0.f);
  CHECK(at(both, 1, 1, 3) == 0.f);
  const Tensor behind = run_layer({{"type", "shortcut_a"}, {"out", 4}, {"pool", "average"}, {"pad", "behind"}}, x);
  CHECK(at(behind, 1, 0, 0) ==
        doctest::Approx((at(x, 2, 0, 0) + at(x, 2, 1, 0) + at(x, 3, 0, 0) + at(x, 3, 1, 0)) / 4));
  CHECK(at(behind, 1, 0, 2) == 0.f);
  CHECK(shape_of({{"type", "shortcut_a"}, {"out", 4}, {"pool", "average"}}, {1, 7, 7, 2}) == Shape{1, 4, 4, 4});
  CHECK(shape_of({{"type", "shortcut_a"}, {"out", 4}}, {1, 7, 7, 2}) == Shape{1, 4, 4, 4});
  CHECK(shape_of({{"type", "shortcut_a"}, {"out", 5}, {"stride", 1}}, {1, 7, 7, 2}) == Shape{1, 7, 7, 5});
  CHECK(mentions(message_of([&] { run_layer({{"type", "shortcut_a"}, {"out", 1}}, x); }), {"shortcut_a", "[1,4,4,2]"}));
}

TEST_CASE("flatten, concat, add and softmax give the shapes and values they promise") {
  const Tensor x = random_tensor({2, 2, 3, 4}, 1);
  const Tensor flat = run_layer({{"type", "flatten"}}, x);
  CHECK(flat.shape() == Shape{2, 24});
  CHECK(flat.data<float>()[1] == x.data<float>()[4]);  // channel 0 of the second pixel
  const std::vector<Tensor> three{x, x, x};
  CHECK(make_layer({{"type", "concat"}})->forward(three, {}).shape() == Shape{2, 2, 3, 12});
  CHECK(make_layer({{"type", "add"}})->forward(three, {}).data<float>()[5] == doctest::Approx(3 * x.data<float>()[5]));
  const Tensor p = run_layer({{"type", "softmax"}}, flat);
  CHECK(p.data<float>()[0] + p.data<float>()[23] > 0);
  Tensor wanted = flat.clone();
  wanted.set_requires_grad();
  CHECK(mentions(message_of([&] { run_layer({{"type", "softmax"}}, wanted, {Mode::train}); }), {"no gradient"}));
}

TEST_CASE("dropout: the identity in evaluation, random in training, an error without a generator") {
  const Json json{{"type", "dropout"}, {"p", 0.5}};
  const Tensor x = Tensor::full({1, 1000}, 1);
  CHECK(same_bits(run_layer(json, x), x));
  Rng rng(1);
  const Tensor y = run_layer(json, x, {Mode::train, &rng});
  int64_t kept = 0;
  for (const float v : y.data<float>()) kept += v == 2.f;
  CHECK(kept > 400);
  CHECK(kept < 600);
  CHECK(mentions(message_of([&] { run_layer(json, x, {Mode::train}); }), {"dropout", "random generator"}));
  CHECK(mentions(message_of([] { make_layer({{"type", "dropout"}, {"p", 1}}); }), {"[0, 1)"}));
}

TEST_CASE("layers: every registered type writes options that rebuild it") {
  const std::vector<Json> samples{
      {{"type", "conv2d"}, {"in", 4}, {"out", 6}, {"kernel", {1, 3}}, {"pad", {0, 1, 2, 3}}, {"groups", 2}},
      {{"type", "conv2d"}, {"in", 4}, {"out", 6}, {"pad", "same"}, {"init", "normal"}, {"std", 0.1}},
      {{"type", "linear"}, {"in", 4}, {"out", 6}, {"bias", false}},
      {{"type", "batch_norm"}, {"channels", 7}, {"momentum", 0.99}},
      {{"type", "max_pool"}, {"kernel", 3}, {"stride", {2, 1}}},
      {{"type", "avg_pool"}, {"kernel", 3}, {"ceil_mode", true}},
      {{"type", "shortcut_a"}, {"out", 8}, {"pool", "average"}},
      {{"type", "dropout"}, {"p", 0.2}},
  };
  for (const Json& sample : samples) {
    const auto layer = make_layer(sample);
    const Json written = layer->config();
    for (const auto& [key, value] : sample.items())
      if (key != "type") CHECK(written[key] == value);
    Json again = written;
    again["type"] = sample["type"];
    CHECK(make_layer(again)->config() == written);
  }
}

TEST_CASE("layers: bad options are refused with the place and the reason") {
  const auto refusal = [](const Json& json) { return message_of([&json] { make_layer(json); }); };
  const Json conv{{"type", "conv2d"}, {"in", 4}, {"out", 6}};
  const auto with = [&conv](const char* key, const Json& value) {
    Json json = conv;
    json[key] = value;
    return json;
  };
  CHECK(mentions(refusal({{"type", "conv2"}, {"in", 4}, {"out", 6}}), {"/type", "conv2", "did you mean 'conv2d'"}));
  CHECK(mentions(refusal(with("strid", 2)), {"strid", "did you mean 'stride'"}));
  CHECK(mentions(refusal(with("in", -3)), {"/in", "-3"}));
  CHECK(mentions(refusal(with("in", "four")), {"/in", "integer"}));
  CHECK(mentions(refusal(with("kernel", 0)), {"/kernel"}));
  CHECK(mentions(refusal(with("kernel", {3, -1})), {"/kernel/1"}));
  CHECK(mentions(refusal(with("kernel", {3, 3, 3})), {"/kernel", "[height, width]"}));
  CHECK(mentions(refusal(with("kernel", uint64_t{1} << 63)), {"/kernel"}));
  CHECK(mentions(refusal(with("pad", "valid")), {"/pad", "same"}));
  CHECK(mentions(refusal(with("pad", -1)), {"/pad"}));
  CHECK(mentions(refusal(with("groups", 3)), {"groups", "4", "6"}));
  CHECK(mentions(refusal(with("init", "he")), {"/init", "he_fan_in"}));
  CHECK(mentions(refusal(with("weight_quant", {{"type", "relu"}})), {"/weight_quant", "quantizer", "relu"}));
  CHECK(mentions(refusal(with("weight_quant", 7)), {"/weight_quant"}));
  CHECK(mentions(refusal({{"type", "conv2d"}, {"in", 1 << 20}, {"out", 1 << 20}}), {"conv2d"}));
  CHECK(mentions(refusal({{"type", "linear"}, {"in", 4}}), {"out"}));
}

TEST_CASE("weights: the standard deviation is that of the chosen rule, and drawing them is reproducible") {
  const auto deviation = [](const char* init) {
    const auto layer =
        make_layer({{"type", "conv2d"}, {"in", 16}, {"out", 64}, {"groups", 2}, {"init", init}, {"std", 0.5}});
    layer->initialize(Rng(7));
    double sum = 0;
    const Tensor w = layer->facts().gemm->weight;
    for (const float v : w.data<float>()) sum += double{v} * v;
    return std::sqrt(sum / static_cast<double>(w.numel()));
  };
  CHECK(deviation("he_fan_in") == doctest::Approx(std::sqrt(2. / 72)).epsilon(0.05));
  CHECK(deviation("he_fan_out") == doctest::Approx(std::sqrt(2. / 288)).epsilon(0.05));
  CHECK(deviation("xavier") == doctest::Approx(std::sqrt(2. / 360)).epsilon(0.05));
  CHECK(deviation("normal") == doctest::Approx(0.5).epsilon(0.05));
  CHECK(deviation("normal") == deviation("normal"));
}
