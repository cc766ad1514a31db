#include <cmath>

#include "core/ops.h"
#include "core/parallel.h"
#include "tests/support/gradcheck.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// -sum_k softmax(t / T)_k log softmax(s / T)_k, averaged over the rows.
double reference(const Doubles& s, const Doubles& t, size_t classes, double temperature) {
  double total = 0;
  for (size_t row = 0; row < s.size() / classes; ++row) {
    double student = 0, teacher = 0;
    for (size_t k = 0; k < classes; ++k) {
      student += std::exp(s[row * classes + k] / temperature);
      teacher += std::exp(t[row * classes + k] / temperature);
    }
    for (size_t k = 0; k < classes; ++k)
      total -= std::exp(t[row * classes + k] / temperature) / teacher *
               std::log(std::exp(s[row * classes + k] / temperature) / student);
  }
  return total / static_cast<double>(s.size() / classes);
}

}  // namespace

TEST_CASE("distillation_loss: the cross entropy with the teacher's softmax, and its gradient") {
  const Tensor teacher = normal_tensor({4, 5}, 2, 0, 3);
  for (const double temperature : {1.0, 0.5, 4.0}) {
    CAPTURE(temperature);
    const auto op = [&](const std::vector<Tensor>& in) { return distillation_loss(in[0], teacher, temperature); };
    const auto formula = [&](const std::vector<Doubles>& in) {
      return Doubles{reference(in[0], doubles_of(teacher), 5, temperature)};
    };
    CHECK(gradcheck(op, formula, {normal_tensor({4, 5}, 1, 0, 2)}) == "");
  }
}

TEST_CASE("distillation_loss: a sure teacher is a label, a student like the teacher has no gradient") {
  const Tensor student = normal_tensor({2, 3}, 3);
  const Tensor sure = Tensor::from({2, 3}, {0.0f, 1000.0f, 0.0f, -INFINITY, -INFINITY, 5.0f});
  const int32_t labels[] = {1, 2};
  const Tensor loss = softmax_cross_entropy(student, Tensor::from<int32_t>({2}, labels));
  CHECK(distillation_loss(student, sure).item() == doctest::Approx(loss.item()).epsilon(1e-6));
  Tensor same = student.clone().set_requires_grad();
  backward(distillation_loss(same, student, 2));
  for (const float g : same.grad().data<float>()) CHECK(g == 0);
}

TEST_CASE("distillation_loss: the teacher gets no gradient, large logits do not overflow") {
  Tensor student = Tensor::from({1, 2}, {1e30f, -1e30f}), teacher = Tensor::from({1, 2}, {-1000.0f, 1000.0f});
  student.set_requires_grad();
  teacher.set_requires_grad();
  const Tensor loss = distillation_loss(student, teacher);
  CHECK(loss.item() == doctest::Approx(2e30));
  backward(loss);
  CHECK_FALSE(teacher.grad().defined());
  CHECK(values_of(student.grad()) == std::vector<float>{1, -1});
}

TEST_CASE("distillation_loss: the same bits for 1 and 2 threads") {
  const int before = threads();
  std::vector<Tensor> results;
  for (const int count : {1, 2}) {
    set_threads(count);
    Tensor student = normal_tensor({512, 100}, 5).set_requires_grad();
    const Tensor loss = distillation_loss(student, normal_tensor({512, 100}, 6), 3);
    backward(loss);
    results.insert(results.end(), {loss, student.grad()});
  }
  set_threads(before);
  CHECK(same_bits(results[0], results[2]));
  CHECK(same_bits(results[1], results[3]));
}

TEST_CASE("distillation_loss: shapes and temperature are checked") {
  const Tensor logits = Tensor::zeros({2, 3});
  CHECK_THROWS_WITH_AS(distillation_loss(logits, Tensor::zeros({2, 4})),
                       doctest::Contains("equal shape, got [2,3] and [2,4]"), Error);
  CHECK_THROWS_AS(distillation_loss(Tensor::zeros({6}), Tensor::zeros({6})), Error);
  CHECK_THROWS_AS(distillation_loss(logits, logits, 0), Error);
  CHECK_THROWS_AS(distillation_loss(logits, logits, NAN), Error);
}
