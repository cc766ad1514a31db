#include "core/ops/batch_norm_clamp.h"

#include <cmath>

#include "core/tape.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// y = factor * x with a trained factor, or with one that is not.
class Times final : public ElementwiseOp {
 public:
  Times(const Tensor& trained, float factor) : trained_(trained), factor_(factor) {}
  std::string_view name() const override { return "times"; }
  bool forward(const float* x, float* y, int64_t n) const override {
    bool finite = true;
    for (int64_t i = 0; i < n; ++i) {
      finite &= std::isfinite(x[i]);
      y[i] = factor_ * x[i];
    }
    return finite;
  }
  double backward(const float* x, const float* dy, float* dx, int64_t n) const override {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      sum += static_cast<double>(dy[i]) * x[i];
      dx[i] = factor_ * dy[i];
    }
    return sum;
  }
  const Tensor& parameter() const override { return trained_; }
  Tensor parameter_gradient(double sum) const override {
    return trained_.defined() ? Tensor::of({static_cast<float>(sum)}) : Tensor();
  }

 private:
  Tensor trained_;
  float factor_;
};

struct Arguments {
  Tensor x, gamma, beta, residual;
  BatchNormState state;

  explicit Arguments(const Shape& shape)
      : x(random_tensor(shape, 1)),
        gamma(random_tensor({shape[shape.rank() - 1]}, 2, 0.5f, 1.5f)),
        beta(random_tensor({shape[shape.rank() - 1]}, 3, 0.2f, 0.6f)),
        residual(random_tensor(shape, 4)),
        state{Tensor::zeros(gamma.shape()), Tensor::full(gamma.shape(), 1)} {
    for (Tensor* t : {&x, &gamma, &beta, &residual}) t->set_requires_grad();
  }
  std::vector<Tensor> gradients() const { return {x.grad(), gamma.grad(), beta.grad(), residual.grad()}; }
};

void check_close(const std::vector<Tensor>& got, const std::vector<Tensor>& want, float factor) {
  for (size_t t = 0; t < got.size(); ++t) {
    CAPTURE(t);
    REQUIRE(got[t].shape() == want[t].shape());
    double worst = 0;
    for (size_t i = 0; i < got[t].data<float>().size(); ++i) {
      const double expected = factor * want[t].data<float>()[i];
      worst = std::max(worst, std::abs(got[t].data<float>()[i] - expected) / (1 + std::abs(expected)));
    }
    CHECK(worst < 1e-4);
  }
}

}  // namespace

TEST_CASE("batch_norm_clamp: what follows in the same pass scales the gradients, whether or not it has a parameter") {
  for (const Shape& shape : {Shape{7, 5, 3, 3}, Shape{2, 1}, Shape{130, 9, 9, 2}, Shape{3, 5, 5, 130}}) {
    CAPTURE(shape);
    const Arguments plain(shape);
    const Tensor y = batch_norm_clamp_train(plain.x, plain.gamma, plain.beta, plain.state, plain.residual, 1);
    backward(sum(y));
    for (const bool trained : {false, true}) {
      const Tensor factor = trained ? Tensor::of({3}).set_requires_grad() : Tensor();
      const auto op = std::make_shared<Times>(factor, 3.0f);
      const Arguments then(shape), both(shape);
      backward(sum(batch_norm_clamp_then_train(then.x, then.gamma, then.beta, then.state, then.residual, 1, op)));
      check_close(then.gradients(), plain.gradients(), 3);
      if (trained) CHECK(factor.grad().item() == doctest::Approx(sum(y).item()));
      const auto [same, other] =
          batch_norm_clamp_and_train(both.x, both.gamma, both.beta, both.state, both.residual, 1, op);
      CHECK(same.data<float>()[0] == y.data<float>()[0]);
      CHECK(other.data<float>()[0] == 3 * y.data<float>()[0]);
      backward(add(sum(same), sum(other)));
      check_close(both.gradients(), plain.gradients(), 4);
    }
  }
}
