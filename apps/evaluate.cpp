#include "apps/evaluate.h"

#include <cmath>

#include "core/ops.h"
#include "layers/fuse.h"
#include "quant/lowering/lower.h"

namespace nibble {

Json EvalResult::json() const {
  return {{"top1", top1()}, {"top5", top5()}, {"loss", loss()}, {"correct", correct}, {"total", total}};
}

int64_t rank_of(std::span<const float> scores, int label) {
  const float own = scores[static_cast<size_t>(label)];
  if (std::isnan(own)) return static_cast<int64_t>(scores.size());
  int64_t rank = 0;
  for (size_t k = 0; k < scores.size(); ++k)
    if (scores[k] > own || (scores[k] == own && k < static_cast<size_t>(label))) ++rank;
  return rank;
}

void count_correct(EvalResult& result, const Tensor& logits, const Tensor& labels) {
  const int64_t n = logits.dim(0), classes = logits.dim(1);
  const auto scores = logits.data<float>();
  const auto expected = labels.data<int32_t>();
  for (int64_t i = 0; i < n; ++i) {
    const auto row = scores.subspan(static_cast<size_t>(i * classes), static_cast<size_t>(classes));
    const int64_t rank = rank_of(row, expected[static_cast<size_t>(i)]);
    result.correct += rank < 1;
    result.correct5 += rank < 5;
  }
  result.total += n;
}

void add_batch(EvalResult& result, const Tensor& logits, const Tensor& labels) {
  count_correct(result, logits, labels);
  const double n = static_cast<double>(logits.dim(0));
  result.loss_sum += static_cast<double>(softmax_cross_entropy(logits, labels).item()) * n;
}

std::optional<EvalResult> evaluate(const Graph& graph, Loader& loader,
                                   const std::function<bool(int64_t images)>& after_batch, bool in_float) {
  const NoRecord no_record;
  const Evaluated form = in_float ? Evaluated{graph, "asked for"} : evaluated(graph);
  const Graph running = fuse(form.graph).graph;
  EvalResult result;
  result.on_codes = form.why_real.empty();
  loader.start(0);
  for (Batch batch; loader.next(batch);) {
    const Tensor logits = running.forward(batch.images, {Mode::eval});
    add_batch(result, logits, batch.labels);
    result.hash.add(logits);
    if (after_batch && !after_batch(result.total)) return std::nullopt;
  }
  return result;
}

}  // namespace nibble
