#include "quant/statistics.h"

#include "quant/step_gradient.h"
#include "tests/quant/baseline_support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// f with one thread and with two.
template <class F>
auto both(const F& f) {
  const int before = threads();
  set_threads(1);
  auto one = f();
  set_threads(2);
  auto two = f();
  set_threads(before);
  return std::pair{one, two};
}

}  // namespace

TEST_CASE("statistics: means, largest values and extremes of each channel, over many blocks and over none") {
  for (const int64_t width : {1, 7, 16384, 16385, 40001}) {
    for (const int64_t channels : {1, 3}) {
      const Tensor x = normal_tensor({channels, width}, static_cast<uint64_t>(width), 0.2f);
      const auto means = mean_absolute(x, channels);
      const auto most = max_absolute(x, channels);
      const auto ends = extremes(x, channels);
      REQUIRE(means.size() == static_cast<size_t>(channels));
      for (size_t c = 0; c < means.size(); ++c) {
        double sum = 0;
        float largest = 0, lowest = INFINITY, highest = -INFINITY;
        for (const float v : x.data<float>().subspan(c * static_cast<size_t>(width), static_cast<size_t>(width))) {
          sum += std::abs(v);
          largest = std::max(largest, std::abs(v));
          lowest = std::min(lowest, v);
          highest = std::max(highest, v);
        }
        CHECK(std::abs(means[c] - sum / static_cast<double>(width)) <= 1e-12 * means[c]);
        CHECK(most[c] == largest);
        CHECK(ends[c].lowest == lowest);
        CHECK(ends[c].highest == highest);
      }
    }
  }
  CHECK(mean_absolute(Tensor::zeros({0}), 1) == std::vector<double>{0});
  CHECK(extremes(Tensor::zeros({0}), 1)[0].highest == 0);
  CHECK(mentions(message_of([] { mean_absolute(Tensor::zeros({3, 3}), 2); }), {"[3,3]", "2 equal parts"}));
}

TEST_CASE("statistics: a mean of many equal values does not drift") {
  CHECK(mean_absolute(Tensor::full({1 << 22}, -0.1f), 1)[0] == doctest::Approx(0.1f).epsilon(1e-12));
}

TEST_CASE("statistics: the bits do not depend on the number of threads") {
  const Tensor x = normal_tensor({3, 100003}, 5);
  const auto [one, two] = both([&] { return mean_absolute(x, 3); });
  CHECK(one == two);
}

TEST_CASE("step gradient: every channel by the rule's formula, with the same bits for one and two threads") {
  const Tensor x = normal_tensor({2, 9001}, 1), dy = normal_tensor({2, 9001}, 2), step = Tensor::of({0.3f, 0.7f});
  const auto rule = make_backward_rule({}, "lsq");
  const auto [one, two] = both([&] { return step_gradients(x, dy, step, -2, 1, *rule); });
  CHECK(same_bits(one.dx, two.dx));
  CHECK(one.dstep == two.dstep);
  for (size_t c = 0; c < 2; ++c) {
    double sum = 0;
    for (size_t i = c * 9001; i < (c + 1) * 9001; ++i) {
      const double u = x.data<float>()[i] / static_cast<double>(step.data<float>()[c]), g = dy.data<float>()[i];
      const bool inside = u > -2 && u < 1;
      sum += g * (inside ? std::nearbyint(u) - u : u <= -2 ? -2 : 1);
      CHECK(one.dx.data<float>()[i] == (inside ? dy.data<float>()[i] : 0));
    }
    CHECK(std::abs(one.dstep[c] - sum) < 1e-3);
  }
}
