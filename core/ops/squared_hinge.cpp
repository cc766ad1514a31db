#include "core/ops/squared_hinge.h"

#include <algorithm>

#include "core/ops.h"
#include "core/ops/map.h"

namespace nibble {
namespace {

void check(const Tensor& scores, const Tensor& labels) {
  check_f32("squared_hinge", scores);
  NIBBLE_CHECK(scores.rank() == 2 && scores.numel() > 0, "squared_hinge: expects scores (N,K), got ", scores.shape());
  NIBBLE_CHECK(labels.defined() && labels.dtype() == DType::i32 && labels.shape() == Shape{scores.dim(0)},
               "squared_hinge: expects one i32 label per row of ", scores.shape());
  for (const int32_t label : labels.data<int32_t>())
    NIBBLE_CHECK(label >= 0 && label < scores.dim(1), "squared_hinge: label ", label, " is outside [0, ", scores.dim(1),
                 ")");
}

}  // namespace

Tensor squared_hinge(const Tensor& scores, const Tensor& labels) {
  check(scores, labels);
  const int64_t classes = scores.dim(1);
  const double count = static_cast<double>(scores.numel());
  Tensor gradient = Tensor::empty_like(scores);  // of the loss, by score: the backward pass only scales it
  const auto y = scores.data<float>();
  const auto label = labels.data<int32_t>();
  const auto slope = gradient.mutable_data<float>();
  double total = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const auto row = static_cast<int64_t>(i) / classes, k = static_cast<int64_t>(i) % classes;
    const double t = k == label[static_cast<size_t>(row)] ? 1 : -1;
    // Written so that a score that is not a number stays one.
    const double gap = t * y[i] >= 1 ? 0 : 1 - t * y[i];
    total += gap * gap;
    slope[i] = static_cast<float>(-2 * t * gap / count);
  }
  return record("squared_hinge", Tensor::scalar(static_cast<float>(total / count)), {scores},
                [gradient](const Tensor& dy) -> Grads {
                  Tensor dx = Tensor::empty_like(gradient);
                  const float factor = dy.item();
                  std::ranges::transform(gradient.data<float>(), dx.mutable_data<float>().begin(),
                                         [factor](float g) { return factor * g; });
                  return {dx};
                });
}

}  // namespace nibble
