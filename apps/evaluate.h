#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "core/bit_hash.h"
#include "core/json.h"
#include "data/loader.h"
#include "layers/graph.h"

namespace nibble {

struct EvalResult {
  int64_t correct = 0, correct5 = 0, total = 0;
  double loss_sum = 0;
  BitHash hash;
  bool on_codes = false;  ///< computed on the codes of the quantizers, see evaluated() in quant/lowering/lower.h

  double top1() const { return percent(correct); }
  double top5() const { return percent(correct5); }
  double loss() const { return total > 0 ? loss_sum / static_cast<double>(total) : 0; }
  /// {"top1", "top5" (percent), "loss", "correct", "total"}.
  Json json() const;

 private:
  double percent(int64_t count) const {
    return total > 0 ? 100.0 * static_cast<double>(count) / static_cast<double>(total) : 0;
  }
};

/// Place of the label when the classes are sorted by falling score, 0 for the best; among equals the lower class
/// number goes first. A label whose score is not a number comes last.
int64_t rank_of(std::span<const float> scores, int label);

/// Counts the right answers of a batch of logits (N,K).
void count_correct(EvalResult& result, const Tensor& logits, const Tensor& labels);
/// The same and the loss.
void add_batch(EvalResult& result, const Tensor& logits, const Tensor& labels);

/// Runs all batches of the loader through evaluated(graph), or the graph itself if `in_float`. `after_batch` is told
/// the number of images done and may return false to give up, which makes the result empty.
std::optional<EvalResult> evaluate(const Graph& graph, Loader& loader,
                                   const std::function<bool(int64_t images)>& after_batch, bool in_float = false);

}  // namespace nibble
