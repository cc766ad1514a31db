#include <cmath>
#include <vector>

#include "core/ops.h"
#include "core/ops/map.h"

namespace nibble {
namespace {

/// log sum exp of one row, in double.
double log_sum_exp(const float* z, int64_t classes) {
  double largest = z[0];
  for (int64_t k = 1; k < classes; ++k) largest = std::max(largest, static_cast<double>(z[k]));
  double sum = 0;
  for (int64_t k = 0; k < classes; ++k) sum += std::exp(z[k] - largest);
  return largest + std::log(sum);
}

void check_logits(const char* op, const Tensor& logits) {
  check_f32(op, logits);
  NIBBLE_CHECK(logits.rank() == 2 && logits.dim(1) >= 1, op, ": expects logits (N,K), got ", logits.shape());
}

void check_labels(const Tensor& logits, const Tensor& labels) {
  NIBBLE_CHECK(labels.defined() && labels.dtype() == DType::i32 && labels.rank() == 1 &&
                   labels.dim(0) == logits.dim(0) && labels.dim(0) >= 1,
               "softmax_cross_entropy: expects one i32 label per row and at least one row, got ",
               labels.defined() ? name_of(labels.dtype()) : "nothing", labels.defined() ? labels.shape() : Shape{},
               " for logits ", logits.shape());
  const auto label = labels.data<int32_t>();
  for (size_t i = 0; i < label.size(); ++i) {
    NIBBLE_CHECK(label[i] >= 0 && label[i] < logits.dim(1), "softmax_cross_entropy: label ", label[i], " of sample ", i,
                 " is outside [0, ", logits.dim(1), ")");
  }
}

}  // namespace

Tensor softmax(const Tensor& logits) {
  check_logits("softmax", logits);
  const int64_t classes = logits.dim(1);
  Tensor y = Tensor::empty_like(logits);
  const float* from = logits.data<float>().data();
  float* to = y.mutable_data<float>().data();
  parallel_for(0, logits.dim(0), row_grain(classes * 16), [=](int64_t lo, int64_t hi) {
    for (int64_t row = lo; row < hi; ++row) {
      const float* z = from + row * classes;
      const double log_sum = log_sum_exp(z, classes);
      for (int64_t k = 0; k < classes; ++k) to[row * classes + k] = static_cast<float>(std::exp(z[k] - log_sum));
    }
  });
  return y;
}

Tensor softmax_cross_entropy(const Tensor& logits, const Tensor& labels, float smoothing) {
  check_logits("softmax_cross_entropy", logits);
  check_labels(logits, labels);
  NIBBLE_CHECK(smoothing >= 0 && smoothing < 1, "softmax_cross_entropy: smoothing must lie in [0, 1), got ", smoothing);
  const int64_t rows = logits.dim(0), classes = logits.dim(1);
  const double hit = 1.0 - smoothing, spread = static_cast<double>(smoothing) / static_cast<double>(classes);
  std::vector<double> losses(static_cast<size_t>(rows));
  const float* from = logits.data<float>().data();
  parallel_for(0, rows, row_grain(classes * 16), [&](int64_t lo, int64_t hi) {
    const auto label = labels.data<int32_t>();
    for (int64_t row = lo; row < hi; ++row) {
      const float* z = from + row * classes;
      const double log_sum = log_sum_exp(z, classes);
      double loss = hit * (log_sum - z[label[static_cast<size_t>(row)]]);
      // Without smoothing an infinitely unlikely class must not become 0 * inf.
      for (int64_t k = 0; spread > 0 && k < classes; ++k) loss += spread * (log_sum - z[k]);
      losses[static_cast<size_t>(row)] = loss;
    }
  });
  double total = 0;
  for (const double loss : losses) total += loss;
  const Tensor y = Tensor::scalar(static_cast<float>(total / static_cast<double>(rows)));
  return record("softmax_cross_entropy", y, {logits}, [=](const Tensor& dy) -> Grads {
    Tensor dx = softmax(logits);
    float* to = dx.mutable_data<float>().data();
    const auto factor = static_cast<float>(dy.item() / static_cast<double>(rows));
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t label = labels.data<int32_t>()[static_cast<size_t>(row)];
      for (int64_t k = 0; k < classes; ++k) {
        float& g = to[row * classes + k];
        g = factor * static_cast<float>(g - spread - (k == label ? hit : 0));
      }
    }
    return {dx};
  });
}

}  // namespace nibble
