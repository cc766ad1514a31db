#include "quant/straight_through.h"

#include <cmath>

#include "core/ops.h"
#include "core/parallel.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

std::shared_ptr<const BackwardRule> rule(const char* name) { return make_backward_rule(Config(Json(name)), name); }

/// dx for a gradient of ones.
std::vector<float> gradient_of(const Tensor& values, const Grid& grid, const char* name) {
  Tensor x = values.clone().set_requires_grad();
  backward(sum(straight_through("mine", x, grid, rule(name))));
  return test::values_of(x.grad());
}

}  // namespace

TEST_CASE("straight_through: the output is snapped, the rule sees codes of a uniform grid, per channel") {
  const Tensor x = Tensor::from({2, 4}, {-0.9f, -0.1f, 0.6f, 3.0f, -0.9f, -0.1f, 0.6f, 3.0f});
  const Grid grid = Uniform{{0.5f, 2.0f}, {0, 1}, -1, 2};  // channel 0 from -0.5 to 1, channel 1 from -1 to 5
  CHECK(test::same_bits(straight_through("mine", x, grid, rule("clipped_ste")), snap(x, grid)));
  CHECK(gradient_of(x, grid, "clipped_ste") == std::vector<float>{0, 1, 1, 0, 1, 1, 1, 1});
  CHECK(gradient_of(x, grid, "identity") == std::vector<float>(8, 1));
}

TEST_CASE("straight_through: the rule sees values of other grids, between the outermost levels") {
  const Tensor x = Tensor::of({-0.4f, -0.2f, 0.0f, 0.9f, 1.1f});
  CHECK(gradient_of(x, Codebook{{-0.25f, 0, 1}, {-0.1f, 0.5f}}, "clipped_ste") == std::vector<float>{0, 1, 1, 1, 0});
  // A negative basis: the lowest level is not that of code 0.
  CHECK(gradient_of(x, BitPlanes{{1}, {{-1.3f}}}, "clipped_ste") == std::vector<float>{0, 1, 1, 1, 0});
}

TEST_CASE("straight_through: a real grid passes x on, what is not finite is refused by name") {
  const Tensor x = Tensor::of({0.3f, -7});
  CHECK(test::same_bits(straight_through("mine", x, Real{}, rule("clipped_ste")), x));
  CHECK(gradient_of(x, Real{}, "clipped_ste") == std::vector<float>{1, 1});
  CHECK_THROWS_WITH_AS(straight_through("mine", Tensor::of({NAN}), Uniform{{1}, {0}, 0, 1}, rule("identity")),
                       doctest::Contains("mine"), Error);
}

TEST_CASE("straight_through: the same bits for 1 and 2 threads") {
  const int before = threads();
  const Tensor x = test::normal_tensor({4, 17001}, 5);
  std::vector<std::vector<float>> found;
  for (const int count : {1, 2}) {
    set_threads(count);
    found.push_back(gradient_of(x, Uniform{{0.1f, 0.2f, 0.3f, 0.4f}, {0}, -2, 1}, "lsq"));
  }
  set_threads(before);
  CHECK(found[0] == found[1]);
}

}  // namespace nibble
