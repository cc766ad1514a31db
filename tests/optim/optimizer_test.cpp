#include "optim/optimizer.h"

#include <cmath>
#include <cstring>

#include "core/allocator.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "third_party/doctest.h"

using namespace nibble;

namespace {

using Values = std::vector<double>;

/// One element under an optimizer, in double precision: weight w, gradient g (without decay), rate lr.
struct Reference {
  double w = 0, a = 0, b = 0;  ///< a and b are whatever the rule keeps
  int t = 0;
};
using Rule = void (*)(Reference&, double g, double lr);

std::shared_ptr<Optimizer> make(const char* text) {
  return Registry<Optimizer>::get().make(parse_config(text, "optim.json"));
}

Tensor random(const Shape& shape, uint64_t seed) {
  Tensor x = Tensor::empty(shape);
  const Rng rng(seed);
  for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[size_t(i)] = rng.normal(uint64_t(i));
  return x;
}

/// Runs seven steps with a changing rate on 1000 elements and compares every one with the rule.
void check_rule(const char* config, Rule rule, double initial_a = 0) {
  CAPTURE(config);
  const auto optimizer = make(config);
  Tensor w = random({10, 100}, 1);
  std::vector<Reference> reference;
  for (const float value : w.data<float>()) reference.push_back({value, initial_a});
  optimizer->attach({{"w", w}});
  for (int step = 0; step < 7; ++step) {
    const Tensor g = random({10, 100}, 100 + uint64_t(step));
    const double lr = step < 3 ? 0.1 : 0.02;
    w.set_grad(g);
    optimizer->step(lr);
    for (size_t i = 0; i < reference.size(); ++i) rule(reference[i], g.data<float>()[i], lr);
  }
  double worst = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    worst = std::max(worst, std::abs(w.data<float>()[i] - reference[i].w));
  }
  CHECK(worst < 2e-6);
}

std::vector<float> values(const Tensor& x) { return {x.data<float>().begin(), x.data<float>().end()}; }

/// The weight after one step of rate 1 from w = 1 with gradient 0: below 1 only if weight decay applies.
std::map<std::string, float> decayed(const char* config, std::vector<Param> params) {
  const auto optimizer = make(config);
  for (Param& param : params) {
    param.tensor = Tensor::full({1}, 1.f);
    param.tensor.set_grad(Tensor::zeros({1}));
  }
  optimizer->attach(params);
  optimizer->step(1);
  std::map<std::string, float> after;
  for (const Param& param : params) after[param.name] = param.tensor.item();
  return after;
}

}  // namespace

TEST_CASE("sgd: every form follows its formula") {
  check_rule(R"({"type":"sgd","lr":1,"weight_decay":0.1})",
             [](Reference& r, double g, double lr) { r.w -= lr * (g + 0.1 * r.w); });
  check_rule(R"({"type":"sgd","lr":1,"momentum":0.9,"weight_decay":0.1})", [](Reference& r, double g, double lr) {
    r.a = 0.9 * r.a + (g + 0.1 * r.w);
    r.w -= lr * r.a;
  });
  check_rule(R"({"type":"sgd","lr":1,"momentum":0.9,"nesterov":true,"weight_decay":0.1})",
             [](Reference& r, double g, double lr) {
               const double d = g + 0.1 * r.w;
               r.a = 0.9 * r.a + d;
               r.w -= lr * (d + 0.9 * r.a);
             });
  check_rule(R"({"type":"sgd","lr":1,"momentum":0.9,"form":"caffe","weight_decay":0.1})",
             [](Reference& r, double g, double lr) {
               r.a = 0.9 * r.a + lr * (g + 0.1 * r.w);
               r.w -= r.a;
             });
  check_rule(R"({"type":"sgd","lr":1,"momentum":0.9,"nesterov":true,"form":"caffe"})",
             [](Reference& r, double g, double lr) {
               const double before = r.a;  // Caffe's own words: w -= (1 + mu) v - mu v_before
               r.a = 0.9 * r.a + lr * g;
               r.w -= 1.9 * r.a - 0.9 * before;
             });
}

TEST_CASE("adam: moments, bias correction and both kinds of decay follow the formula") {
  check_rule(R"({"type":"adam","lr":1,"weight_decay":0.1})", [](Reference& r, double g, double lr) {
    const double d = g + 0.1 * r.w;
    ++r.t;
    r.a = 0.9 * r.a + 0.1 * d;
    r.b = 0.999 * r.b + 0.001 * d * d;
    r.w -= lr * (r.a / (1 - std::pow(0.9, r.t))) / (std::sqrt(r.b / (1 - std::pow(0.999, r.t))) + 1e-8);
  });
  check_rule(R"({"type":"adam","lr":1,"beta1":0.5,"beta2":0.8,"epsilon":0.1,"weight_decay":0.1,"decoupled":true})",
             [](Reference& r, double g, double lr) {
               ++r.t;
               r.w -= lr * 0.1 * r.w;
               r.a = 0.5 * r.a + 0.5 * g;
               r.b = 0.8 * r.b + 0.2 * g * g;
               r.w -= lr * (r.a / (1 - std::pow(0.5, r.t))) / (std::sqrt(r.b / (1 - std::pow(0.8, r.t))) + 0.1);
             });
}

TEST_CASE("rmsprop: epsilon is under the root and the mean square starts at one") {
  check_rule(R"({"type":"rmsprop","lr":1,"weight_decay":0.1})",
             [](Reference& r, double g, double lr) {
               const double d = g + 0.1 * r.w;
               r.a = 0.9 * r.a + 0.1 * d * d;
               r.b = 0.9 * r.b + lr * d / std::sqrt(r.a + 1.0);
               r.w -= r.b;
             },
             1.0);
  check_rule(R"({"type":"rmsprop","lr":1,"rho":0.5,"momentum":0,"epsilon":0.01,"initial_mean_square":0})",
             [](Reference& r, double g, double lr) {
               r.a = 0.5 * r.a + 0.5 * g * g;
               r.w -= lr * g / std::sqrt(r.a + 0.01);
             });
}

TEST_CASE("adagrad: follows the formula") {
  check_rule(R"({"type":"adagrad","lr":1,"weight_decay":0.1})", [](Reference& r, double g, double lr) {
    const double d = g + 0.1 * r.w;
    r.a += d * d;
    r.w -= lr * d / (std::sqrt(r.a) + 1e-10);
  });
  check_rule(R"({"type":"adagrad","lr":1,"initial_sum":0.1,"epsilon":0.5})",
             [](Reference& r, double g, double lr) {
               r.a += g * g;
               r.w -= lr * g / (std::sqrt(r.a) + 0.5);
             },
             0.1);
}

TEST_CASE("optimizers: weight decay spares what the layer, a pattern or an alternative of it exempts") {
  const std::vector<Param> params = {{"conv1.weight", {}}, {"bn1.scale", {}}, {"fc.bias", {}}, {"step", {}, false}};
  using After = std::map<std::string, float>;
  CHECK(decayed(R"({"type":"sgd","lr":1,"weight_decay":0.5})", params) ==
        After{{"conv1.weight", 0.5f}, {"bn1.scale", 0.5f}, {"fc.bias", 0.5f}, {"step", 1.f}});
  CHECK(decayed(R"({"type":"sgd","lr":1,"weight_decay":0.5,"no_decay":["*.bias|bn*"]})", params) ==
        After{{"conv1.weight", 0.5f}, {"bn1.scale", 1.f}, {"fc.bias", 1.f}, {"step", 1.f}});
  CHECK(decayed(R"({"type":"adam","lr":1,"weight_decay":0.5,"decoupled":true,"no_decay":["bn1.scale","*c.*"]})",
                params) == After{{"conv1.weight", 0.5f}, {"bn1.scale", 1.f}, {"fc.bias", 1.f}, {"step", 1.f}});
}

TEST_CASE("optimizers: a pattern or an alternative that matches nothing is an error that names it") {
  const std::vector<Param> params = {{"fc.weight", Tensor::zeros({1})}, {"fc.bias", Tensor::zeros({1})}};
  const auto attach = [&](const char* config) { make(config)->attach(params); };
  CHECK_THROWS_WITH_AS(attach(R"({"type":"sgd","lr":1,"no_decay":["fc.bias", "fc.bais"]})"),
                       doctest::Contains("at /optim/no_decay/1: pattern 'fc.bais' matches no parameter, did you mean "
                                         "'fc.bias'?"),
                       UsageError);
  CHECK_THROWS_WITH_AS(attach(R"({"type":"sgd","lr":1,"no_decay":["*.bias|bn*"]})"), doctest::Contains("'bn*'"),
                       UsageError);
}

TEST_CASE("optimizers: the learning rate of a parameter is scaled by its factor") {
  const auto optimizer = make(R"({"type":"sgd","lr":1})");
  Tensor a = Tensor::scalar(0), b = Tensor::scalar(0), still = Tensor::scalar(3);
  a.set_grad(Tensor::of({1}));
  b.set_grad(Tensor::of({1}));
  optimizer->attach({{"a", a}, {"b", b, true, 0.25f}, {"still", still}});
  optimizer->step(0.5);
  CHECK(a.item() == -0.5f);
  CHECK(b.item() == -0.125f);
  CHECK(still.item() == 3.f);  // has no gradient
  zero_grads(optimizer->params());
  optimizer->step(0.5);
  CHECK(a.item() == -0.5f);
}

TEST_CASE("optimizers: a step gives the same bits with any number of threads, and allocates nothing") {
  const int before = threads();
  for (const char* config :
       {R"({"type":"sgd","lr":1,"momentum":0.9,"nesterov":true,"weight_decay":0.01})", R"({"type":"adam","lr":1})",
        R"({"type":"rmsprop","lr":1})", R"({"type":"adagrad","lr":1})"}) {
    CAPTURE(config);
    std::vector<std::vector<float>> results;
    for (const int n : {1, 2, 5}) {
      set_threads(n);
      const auto optimizer = make(config);
      std::vector<Param> params;
      for (const int64_t size : {3, 0, 40001, 1, 70000}) {
        params.push_back({"p" + std::to_string(size), random({size}, uint64_t(size))});
        params.back().tensor.set_grad(random({size}, uint64_t(size) + 7));
      }
      optimizer->attach(params);
      const auto stats = allocator_stats();
      for (int step = 0; step < 3; ++step) optimizer->step(0.1);
      CHECK(allocator_stats().reused + allocator_stats().system_allocations == stats.reused + stats.system_allocations);
      results.emplace_back();
      for (const Param& param : params) {
        const auto after = values(param.tensor);
        results.back().insert(results.back().end(), after.begin(), after.end());
      }
    }
    CHECK(results[0] == results[1]);
    CHECK(results[0] == results[2]);
  }
  set_threads(before);
}

TEST_CASE("optimizers: one that takes over saved state goes on with the same bits") {
  for (const char* config : {R"({"type":"sgd","lr":1,"momentum":0.9})", R"({"type":"adam","lr":1})",
                             R"({"type":"rmsprop","lr":1})", R"({"type":"adagrad","lr":1})"}) {
    CAPTURE(config);
    const auto first = make(config), second = make(config);
    const Tensor w = random({50}, 1);
    first->attach({{"w", w}});
    w.set_grad(random({50}, 2));
    first->step(0.1);

    const Tensor copy = w.clone();
    second->attach({{"w", copy}});
    std::map<std::string, Tensor> saved;
    first->visit_state([&](const std::string& name, Tensor& tensor) { saved[name] = tensor.clone(); });
    CHECK_FALSE(saved.empty());
    second->visit_state([&](const std::string& name, Tensor& tensor) { tensor.copy_from(saved.at(name)); });
    for (const auto& [optimizer, tensor] : {std::pair{first, w}, std::pair{second, copy}}) {
      tensor.set_grad(random({50}, 3));
      optimizer->step(0.1);
    }
    CHECK(values(w) == values(copy));
  }
}

TEST_CASE("optimizers: misuse is an error") {
  const auto optimizer = make(R"({"type":"sgd","lr":1})");
  const Tensor w = Tensor::zeros({2});
  CHECK_THROWS_WITH_AS(optimizer->step(1), "optimizer: step before attach", Error);
  CHECK_THROWS_AS(optimizer->attach({}), Error);
  CHECK_THROWS_WITH_AS(optimizer->attach({{"a", w}, {"a", w.clone()}}), "optimizer: two parameters are named 'a'",
                       Error);
  CHECK_THROWS_WITH_AS(optimizer->attach({{"a", w}, {"b", w}}), doctest::Contains("another parameter holds"), Error);
  CHECK_THROWS_WITH_AS(optimizer->attach({{"a", Tensor::zeros({2}, DType::i32)}}), doctest::Contains("no f32"), Error);
  optimizer->attach({{"w", w}});
  CHECK_THROWS_WITH_AS(optimizer->attach({{"w", w}}), "optimizer: attach was called twice", Error);
  CHECK_THROWS_AS(optimizer->step(std::nan("")), Error);
  CHECK_THROWS_AS(optimizer->step(-1), Error);
}

TEST_CASE("optimizers: bad options are refused with the place") {
  const auto refused = [](const char* config, const char* message) {
    CHECK_THROWS_WITH_AS(make(config), doctest::Contains(message), UsageError);
  };
  refused(R"({"type":"sdg","lr":1})", "(known: adagrad, adam, rmsprop, sgd)");
  refused(R"({"type":"sgd"})", "'lr' is missing");
  refused(R"({"type":"sgd","lr":-1})", "/lr");
  refused(R"({"type":"sgd","lr":1,"momentun":0.9})", "did you mean 'momentum'?");
  refused(R"({"type":"sgd","lr":1,"momentum":1.5})", "/momentum");
  refused(R"({"type":"sgd","lr":1,"nesterov":true})", "nesterov needs a momentum");
  refused(R"({"type":"sgd","lr":1,"form":"tensorflow"})", "/form");
  refused(R"({"type":"adam","lr":1,"beta1":1})", "/beta1");
  refused(R"({"type":"rmsprop","lr":1,"epsilon":0})", "/epsilon");
  refused(R"({"type":"sgd","lr":1,"schedule":{"type":"cosin"}})", "/schedule/type");
  refused(R"({"type":"sgd","lr":1,"schedule":{"type":"step","epochs":0}})", "/schedule/epochs");
  refused(R"({"type":"sgd","lr":1,"warmup":{"epochs":1,"steps":5}})", "give steps or epochs");
  refused(R"({"type":"sgd","lr":1,"warmup":{"epoch":1}})", "/warmup/epoch");
}

TEST_CASE("optimizers: the written config rebuilds the optimizer and names the schedule's defaults") {
  for (const auto& entry : Registry<Optimizer>::get().entries()) {
    const std::string& name = entry.first;
    CAPTURE(name);
    Json json{{"type", name}, {"lr", 0.5}, {"schedule", {{"type", "cosine"}, {"end", 0.25}}}};
    const auto optimizer = Registry<Optimizer>::get().make(Config(json));
    CHECK(optimizer->base_lr() == 0.5);
    Json written = optimizer->config();
    CHECK(written["schedule"] == Json{{"type", "cosine"}, {"end", 0.25}, {"epochs", 0.0}});
    written["type"] = name;
    CHECK(Registry<Optimizer>::get().make(Config(written))->config() == optimizer->config());
  }
  CHECK(make(R"({"type":"sgd","lr":1})")->config()["schedule"] == Json{{"type", "constant"}});
}

TEST_CASE("optimizer: after reset_state the next step is that of a new optimizer") {
  for (const char* config : {R"({"type":"sgd","lr":1,"momentum":0.9})", R"({"type":"adam","lr":1})",
                             R"({"type":"rmsprop","lr":1})", R"({"type":"adagrad","lr":1,"initial_sum":0.5})"}) {
    CAPTURE(config);
    const auto used = make(config), fresh = make(config);
    Tensor w = random({50}, 1);
    used->attach({{"w", w}});
    for (uint64_t step = 0; step < 3; ++step) {
      w.set_grad(random({50}, 10 + step));
      used->step(0.1);
    }
    Tensor v = w.clone();
    fresh->attach({{"w", v}});
    used->reset_state();
    w.set_grad(random({50}, 20));
    v.set_grad(random({50}, 20));
    used->step(0.1);
    fresh->step(0.1);
    CHECK(values(w) == values(v));
  }
}
