#include "quant/qil.h"

#include <cmath>

#include "core/parallel.h"
#include "tests/layers/support.h"
#include "tests/support/gradcheck.h"

using namespace nibble;
using namespace nibble::test;

namespace {

std::shared_ptr<Quantizer> make_qil(Json options) {
  Json json{{"type", "qil"}};
  json.update(options);
  return std::dynamic_pointer_cast<Quantizer>(make_layer(json));
}

std::map<std::string, Tensor> state(Quantizer& q) {
  struct Visitor final : StateVisitor {
    std::map<std::string, Tensor> found;
    void on_param(const std::string& name, Tensor& tensor, const ParamTraits&) override { found[name] = tensor; }
    void on_buffer(const std::string& name, Tensor& tensor) override { found[name] = tensor; }
  } visitor;
  q.visit(visitor);
  return visitor.found;
}

/// The paper's formulas in double.
struct Reference {
  double c, d, gamma;
  int steps;
  bool weight;

  double z(double v) const { return 0.5 / d * (weight ? std::abs(v) : v) + 0.5 - 0.5 * c / d; }
  double sign(double v) const { return weight && v < 0 ? -1 : 1; }
  bool inside(double v) const { return z(v) >= 0 && z(v) <= 1; }
  double forward(double v) const {
    return std::nearbyint(std::pow(std::clamp(z(v), 0.0, 1.0), gamma) * steps) / steps * sign(v);
  }
  double dv(double v) const { return inside(v) ? gamma * std::pow(z(v), gamma - 1) * 0.5 / d : 0; }
  double dc(double v) const { return -sign(v) * dv(v); }
  double dd(double v) const {
    const double magnitude = weight ? std::abs(v) : v;
    return inside(v) ? -sign(v) * gamma * std::pow(z(v), gamma - 1) * 0.5 * (magnitude - c) / (d * d) : 0;
  }
  double dgamma(double v) const { return inside(v) ? sign(v) * std::pow(z(v), gamma) * std::log(z(v)) : 0; }
};

void check_against(const Reference& r, int bits, const Tensor& values) {
  Json options{{"bits", bits}, {"role", r.weight ? "weight" : "act"}, {"center", r.c}, {"width", r.d}};
  if (r.weight) options.update({{"gamma", r.gamma}, {"learn_gamma", true}});
  const auto q = make_qil(options);
  Reference f32 = r;  // the parameters as they are stored
  f32.c = static_cast<double>(static_cast<float>(r.c));
  f32.d = static_cast<double>(static_cast<float>(r.d));
  f32.gamma = static_cast<double>(static_cast<float>(r.gamma));
  Tensor x = values.clone().set_requires_grad();
  const Tensor y = q->forward({&x, 1}, {.mode = Mode::train});
  const Tensor dy = normal_tensor(x.shape(), 3);
  backward(weighted_sum(y, dy));
  Doubles forward, dx;
  double dc = 0, dd = 0, dgamma = 0, scale = 0;
  for (size_t i = 0; i < x.data<float>().size(); ++i) {
    const double v = x.data<float>()[i], g = dy.data<float>()[i];
    forward.push_back(f32.forward(v));
    dx.push_back(g * f32.dv(v));
    dc += g * f32.dc(v);
    dd += g * f32.dd(v);
    dgamma += g * f32.dgamma(v);
    scale += std::abs(g * f32.dv(v)) + std::abs(g * f32.dd(v)) + std::abs(g * f32.dgamma(v));
  }
  CHECK(compare(y, forward, 1e-6) == "");
  CHECK(compare(x.grad(), dx, 2e-5) == "");
  CHECK(std::abs(state(*q)["center"].grad().item() - dc) < 1e-5 * scale);
  CHECK(std::abs(state(*q)["width"].grad().item() - dd) < 1e-5 * scale);
  if (r.weight) CHECK(std::abs(state(*q)["gamma"].grad().item() - dgamma) < 1e-5 * scale);
}

}  // namespace

TEST_CASE("qil: activations, forward and all gradients are the paper's") {
  const Tensor x = random_tensor({40, 25}, 1, -0.5f, 3);
  for (const int bits : {2, 3, 4, 8}) {
    CAPTURE(bits);
    const int steps = (1 << bits) - 1;
    check_against({1.0, 1.0, 1, steps, false}, bits, x);
    check_against({1.3, 0.7, 1, steps, false}, bits, x);
    check_against({0.4, 0.9, 1, steps, false}, bits, x);
  }
}

TEST_CASE("qil: weights, forward and all gradients are the paper's, with a learned exponent too") {
  const Tensor w = normal_tensor({1000}, 2);
  for (const int bits : {2, 3, 5, 8}) {
    for (const double gamma : {1.0, 0.6, 1.7}) {
      CAPTURE(bits);
      CAPTURE(gamma);
      const int steps = (1 << (bits - 1)) - 1;
      check_against({1.0, 0.9, gamma, steps, true}, bits, w);
      check_against({1.2, 0.4, gamma, steps, true}, bits, w);
      check_against({0.5, 0.8, gamma, steps, true}, bits, w);  // begins below 0
    }
  }
}

TEST_CASE("qil: ties round to even, and the whole function is a snap to its grid") {
  // c = d = 1.5 and 2 bits: thresholds of activations at 0.5, 1.5 and 2.5.
  const auto act = make_qil({{"bits", 2}, {"center", 1.5}, {"width", 1.5}});
  const Tensor x = Tensor::of({0.5f, 1.5f, 2.5f, 0.50001f, 2.49999f, -1, 9});
  CHECK(compare(act->forward({&x, 1}, {}), {0, 2 / 3., 2 / 3., 1 / 3., 2 / 3., 0, 1}, 1e-7) == "");
  // 3 bits of weights: levels k / 3, thresholds 0.5, 1.5 and 2.5 on both sides.
  const auto weight = make_qil({{"bits", 3}, {"role", "weight"}, {"center", 1.5}, {"width", 1.5}});
  const Tensor w = Tensor::of({-0.5f, -1.5f, -2.5f, 0.5f, 1.5f, 2.5f, 0});
  CHECK(compare(weight->forward({&w, 1}, {}), {0, -2 / 3., -2 / 3., 0, 2 / 3., 2 / 3., 0}, 1e-7) == "");
  CHECK(as_uniform(act->grid()).has_value());
  CHECK(level_count(weight->grid()) == 7);
}

TEST_CASE("qil: the interval starts at half of max|w|, or of the first batch's 99.9 % quantile, once") {
  const auto weight = make_qil({{"role", "weight"}});
  const Tensor w = Tensor::of({0.1f, -0.8f, 0.5f});
  weight->forward({&w, 1}, {});
  CHECK(state(*weight)["state"].data<int64_t>()[0] == 0);
  weight->forward({&w, 1}, {.mode = Mode::train});
  CHECK(state(*weight)["center"].item() == 0.4f);
  CHECK(state(*weight)["width"].item() == 0.4f);

  const auto act = make_qil(Json::object());
  Tensor x = distinct_tensor({10000}, 4, 1);  // -4999.5, ..., 4999.5
  act->forward({&x, 1}, {.mode = Mode::train});
  CHECK(state(*act)["width"].item() == 0.5f * 4989.5f);  // the 9990th
  const Tensor other = Tensor::of({1, 2});
  act->forward({&other, 1}, {.mode = Mode::train});
  CHECK(state(*act)["center"].item() == 0.5f * 4989.5f);
}

TEST_CASE("qil: parameters have their own learning rate, no decay, and stay in bounds") {
  const auto q =
      make_qil({{"role", "weight"}, {"learn_gamma", true}, {"lr_factor", 0.05}, {"width", 1}, {"center", 1}});
  Graph graph;
  graph.add("q", q, {"input"});
  const auto params = parameters_of(graph);
  CHECK(params.size() == 3);
  for (const NamedTensor& param : params) {
    CHECK(param.traits.lr_factor == 0.05f);
    CHECK_FALSE(param.traits.decay);
  }
  const Tensor w = normal_tensor({50}, 1);
  for (const float bad : {-1.0f, NAN, INFINITY, -INFINITY}) {
    CAPTURE(bad);
    const int64_t before = state(*q)["state"].data<int64_t>()[1];
    for (const char* name : {"center", "width", "gamma"}) state(*q)[name].mutable_data<float>()[0] = bad;
    q->after_update();
    CHECK(state(*q)["center"].item() >= 0);
    CHECK(state(*q)["width"].item() >= 1e-4f);
    CHECK(state(*q)["gamma"].item() > 0);
    CHECK(state(*q)["state"].data<int64_t>()[1] == before + 3);
    for (const float v : q->forward({&w, 1}, {}).data<float>()) CHECK(std::abs(v) <= 1);
  }
  q->after_update();
  CHECK(state(*q)["state"].data<int64_t>()[1] == 12);
}

TEST_CASE("qil: the same bits for 1 and 2 threads, state and options come back") {
  const int before = threads();
  for (const char* role : {"weight", "act"}) {
    std::vector<Tensor> results;
    for (const int count : {1, 2}) {
      set_threads(count);
      const auto q = make_qil({{"role", role}});
      Tensor x = normal_tensor({100000}, 6).set_requires_grad();
      backward(weighted_sum(q->forward({&x, 1}, {.mode = Mode::train}), normal_tensor({100000}, 7)));
      results.insert(results.end(), {x.grad(), state(*q)["center"].grad(), state(*q)["width"].grad()});
      Graph graph;
      graph.add("q", q, {"input"});
      const Graph copy = graph.clone();
      CHECK(copy.to_json() == graph.to_json());
      CHECK(same_bits(copy.forward(x, {}), graph.forward(x, {})));
    }
    for (size_t i = 0; i < 3; ++i) CHECK(same_bits(results[i], results[i + 3]));
  }
  set_threads(before);
}

TEST_CASE("qil: fewer bits start from the interval that more bits have learned") {
  for (const char* role : {"weight", "act"}) {
    const Tensor x = normal_tensor({4, 3, 5, 5}, 3);
    const auto five = make_qil({{"bits", 5}, {"role", role}, {"center", 0.7}, {"width", 0.4}});
    const auto four = make_qil({{"bits", 4}, {"role", role}});
    const auto from = state(*five), to = state(*four);
    REQUIRE(from.size() == to.size());
    for (const auto& entry : from) Tensor(to.at(entry.first)).copy_from(entry.second);
    four->forward({&x, 1}, {Mode::train});  // does not look for an interval again
    CHECK(to.at("center").item() == 0.7f);
    CHECK(to.at("width").item() == 0.4f);
  }
}

TEST_CASE("qil: what cannot be is named") {
  CHECK(mentions(message_of([] { make_qil({{"gamma", 2}}); }), {"qil", "gamma", "weights only"}));
  const auto q = make_qil(Json::object());
  CHECK(mentions(message_of([&] {
                   const Tensor x = Tensor::of({0, -INFINITY});
                   q->forward({&x, 1}, {});
                 }),
                 {"qil", "element 1", "inf"}));
}
