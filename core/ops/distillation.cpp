#include <cmath>
#include <vector>

#include "core/ops.h"
#include "core/ops/map.h"

namespace nibble {
namespace {

/// p = softmax(z / temperature) and returns log sum exp(z / temperature), in double.
double soft_row(const float* z, double temperature, double* p, int64_t classes) {
  double largest = z[0], sum = 0;
  for (int64_t k = 1; k < classes; ++k) largest = std::max(largest, static_cast<double>(z[k]));
  for (int64_t k = 0; k < classes; ++k) sum += p[k] = std::exp((z[k] - largest) / temperature);
  for (int64_t k = 0; k < classes; ++k) p[k] /= sum;
  return largest / temperature + std::log(sum);
}

void check_pair(const Tensor& student, const Tensor& teacher) {
  check_f32("distillation_loss", student);
  check_f32("distillation_loss", teacher);
  NIBBLE_CHECK(student.rank() == 2 && student.dim(0) >= 1 && student.dim(1) >= 1 && student.shape() == teacher.shape(),
               "distillation_loss: expects student and teacher logits (N,K) of equal shape, got ", student.shape(),
               " and ", teacher.shape());
}

}  // namespace

Tensor distillation_loss(const Tensor& student, const Tensor& teacher, double temperature) {
  check_pair(student, teacher);
  NIBBLE_CHECK(temperature > 0 && std::isfinite(temperature),
               "distillation_loss: the temperature must be positive and finite, got ", temperature);
  const int64_t rows = student.dim(0), classes = student.dim(1);
  std::vector<double> losses(static_cast<size_t>(rows));
  const float *zs = student.data<float>().data(), *zt = teacher.data<float>().data();
  // Of the mean of the losses, by student logit: the backward pass only scales it.
  Tensor gradient = would_record({student}) ? Tensor::empty_like(student) : Tensor();
  float* to = gradient.defined() ? gradient.mutable_data<float>().data() : nullptr;
  parallel_for(0, rows, row_grain(classes * 32), [&](int64_t lo, int64_t hi) {
    std::vector<double> p(static_cast<size_t>(classes)), q(static_cast<size_t>(classes));
    for (int64_t row = lo; row < hi; ++row) {
      const int64_t first = row * classes;
      const double log_sum = soft_row(zs + first, temperature, p.data(), classes);
      soft_row(zt + first, temperature, q.data(), classes);
      double loss = 0;
      for (int64_t k = 0; k < classes; ++k) {
        const auto at = static_cast<size_t>(k);
        // A class that the teacher rules out must not become 0 * inf.
        if (q[at] > 0) loss += q[at] * (log_sum - zs[first + k] / temperature);
        if (to != nullptr)
          to[first + k] = static_cast<float>((p[at] - q[at]) / (temperature * static_cast<double>(rows)));
      }
      losses[static_cast<size_t>(row)] = loss;
    }
  });
  double total = 0;
  for (const double loss : losses) total += loss;
  const Tensor y = Tensor::scalar(static_cast<float>(total / static_cast<double>(rows)));
  return record("distillation_loss", y, {student}, [gradient](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty_like(gradient);
    map(gradient, dx, [factor = dy.item()](float g) { return factor * g; });
    return {dx};
  });
}

}  // namespace nibble
