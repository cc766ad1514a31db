#include "quant/backward_rule.h"

#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

std::shared_ptr<const BackwardRule> rule(const std::string& name) { return make_backward_rule(Config(Json(name)), ""); }

/// dx for values u and a gradient of 2 everywhere, with levels from lo to hi.
std::vector<float> gradient(const std::string& name, const std::vector<float>& u, float lo, float hi) {
  const std::vector<float> dy(u.size(), 2);
  std::vector<float> dx(u.size(), NAN);
  rule(name)->input(u, dy, lo, hi, dx);
  return dx;
}

const std::vector<float> kPoints{-3, -2, -1.5f, -1, -0.25f, 0, 0.5f, 1, 1.5f, 3, 4};

}  // namespace

TEST_CASE("backward rules: each is its paper's formula, ends included or not") {
  using Values = std::vector<float>;
  CHECK(gradient("identity", kPoints, -2, 3) == Values{2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2});
  CHECK(gradient("clipped_ste", kPoints, -2, 3) == Values{0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0});
  CHECK(gradient("lsq", kPoints, -2, 3) == Values{0, 0, 2, 2, 2, 2, 2, 2, 2, 0, 0});
  CHECK(gradient("pact", kPoints, -2, 3) == Values{0, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0});
  CHECK(gradient("qil", kPoints, -2, 3) == Values{0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0});
  CHECK(gradient("half_wave", kPoints, 0, 3) == Values{0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 0});
  CHECK(gradient("vanilla", kPoints, 0, 3) == Values{0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2});
  CHECK(gradient("below", kPoints, 0, 3) == Values{2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0});
  CHECK(gradient("hard_tanh", kPoints, -9, 9) == Values{0, 0, 0, 2, 2, 2, 2, 2, 0, 0, 0});
  CHECK(gradient("bireal", kPoints, -1, 1) == Values{0, 0, 0, 0, 3, 4, 2, 0, 0, 0, 0});
  CHECK(gradient("log_tailed", kPoints, 0, 3) == Values{0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 1});  // 1 / (4 - 2)
}

TEST_CASE("backward rules: the smooth ones are the derivatives of their stand-ins") {
  const auto derivative = [](const auto& f, double u) { return (f(u + 1e-6) - f(u - 1e-6)) / 2e-6; };
  const auto bireal = [](double u) { return u < -1 ? -1 : u < 0 ? 2 * u + u * u : u < 1 ? 2 * u - u * u : 1; };
  const auto tailed = [](double u) { return u <= 0 ? 0 : u <= 2 ? u : 2 + std::log(u - 1); };
  for (double u = -1.45; u < 6; u += 0.1) {
    const auto v = static_cast<float>(u);
    CHECK(std::abs(gradient("bireal", {v}, -1, 1)[0] - 2 * derivative(bireal, u)) < 1e-4);
    CHECK(std::abs(gradient("log_tailed", {v}, 0, 2)[0] - 2 * derivative(tailed, u)) < 1e-4);
  }
}

TEST_CASE("backward rules: each slope is the derivative of its surrogate, but for the few points without one") {
  constexpr double kStep = 1e-7;
  for (const auto& entry : Registry<BackwardRule>::get().entries()) {
    const std::string& name = entry.first;
    CAPTURE(name);
    const auto tested = rule(name);
    for (const auto& ends : {std::pair{-2.0f, 3.0f}, std::pair{0.0f, 7.0f}, std::pair{-0.25f, 0.5f}}) {
      const float lo = ends.first, hi = ends.second;
      int kinks = 0;
      for (int i = 0; i < 400; ++i) {
        const float u = -4 + 0.03f * static_cast<float>(i);
        CAPTURE(u);
        const auto at = [&](double v) { return tested->surrogate(v, lo, hi); };
        const double above = at(u + kStep) - at(u), below = at(u) - at(u - kStep);
        if (std::abs(above - below) > 1e-5 * kStep) {
          ++kinks;
        } else {
          CHECK(gradient(name, {u}, lo, hi)[0] == doctest::Approx(2 * above / kStep).epsilon(1e-4));
        }
      }
      CHECK(kinks <= 3);
    }
  }
}

TEST_CASE("backward rules: any length, and in the gradient's own storage") {
  for (const auto& entry : Registry<BackwardRule>::get().entries()) {
    const std::string& name = entry.first;
    CAPTURE(name);
    for (const int64_t n : {0, 1, 3, 511, 512, 513, 2000}) {
      const Tensor u = normal_tensor({n}, 1, 0, 2), dy = normal_tensor({n}, 2);
      std::vector<float> in_place = values_of(dy), one_by_one;
      rule(name)->input(u.data<float>(), in_place, -1, 2, in_place);
      for (size_t i = 0; i < in_place.size(); ++i) {
        float dx = NAN;
        rule(name)->input(u.data<float>().subspan(i, 1), dy.data<float>().subspan(i, 1), -1, 2, {&dx, 1});
        one_by_one.push_back(dx);
      }
      CHECK(in_place == one_by_one);
    }
  }
}

TEST_CASE("backward rules: the step learns by LSQ's eq. 3 unless the rule says otherwise") {
  const std::vector<float> u{-5, -2, -0.3f, 1.2f, 3, 7}, code{-2, -2, 0, 1, 3, 3}, dy{1, 2, 3, 4, 5, 6};
  const auto step = [&](const std::string& name) { return rule(name)->step(u, code, dy, -2, 3); };
  const double lsq = -2 * 1 - 2 * 2 + 0.3 * 3 - 0.2 * 4 + 3 * 5 + 3 * 6;
  for (const char* name : {"lsq", "identity", "clipped_ste", "below"}) CHECK(step(name) == doctest::Approx(lsq));
  CHECK(step("pact") == doctest::Approx(-2 * 1 + 3 * 5 + 3 * 6));  // -2 itself lies inside
  CHECK(step("qil") == doctest::Approx(2 * 2 + 0.3 * 3 - 1.2 * 4 - 3 * 5));
}

TEST_CASE("backward rules: named by a string or an object, with a fallback, and refused where unknown") {
  CHECK(make_backward_rule({}, "below")->type() == "below");
  CHECK(make_backward_rule(Config(nullptr), "below")->type() == "below");
  CHECK(make_backward_rule(Config(Json("qil")), "below")->type() == "qil");
  CHECK(make_backward_rule(Config(Json{{"type", "bireal"}}), "below")->type() == "bireal");
  const auto message = [](const Json& json) {
    return message_of([&] { make_backward_rule(Config(json, "a.json", "/quant/0/backward"), "below"); });
  };
  CHECK(mentions(message("cliped_ste"), {"a.json", "/quant/0/backward", "did you mean 'clipped_ste'", "bireal"}));
  CHECK(mentions(message({{"type", "lsq"}, {"width", 1}}), {"width"}));
  for (const auto& [name, entry] : Registry<BackwardRule>::get().entries()) {
    CHECK(rule(name)->type() == name);
    CHECK_FALSE(entry.doc.empty());
  }
}
