#pragma once

#include <functional>
#include <string>
#include <vector>

#include "apps/evaluate.h"
#include "core/json.h"
#include "quant/lowering/parity.h"

namespace nibble {

/// A lowered model against the checkpoint it was made from.
struct ModelParity {
  std::string epilogue;                 ///< "fixed" or "float"
  std::vector<std::string> mismatches;  ///< numbers of the file that lowering the checkpoint again does not give
  std::vector<EdgeParity> edges;
  EvalResult real;              ///< the trained network in float
  EvalResult trained, lowered;  ///< the trained one as it is evaluated, on codes (evaluated()), and the lowered one
  int64_t agree = 0;            ///< images for which the last two name the same class

  /// What is broken, one line each; empty if the contract holds: the file is what lowering gives, every edge is within
  /// its bounds (see broken() in quant/lowering/parity.h), and the numbers of images that the lowered network and the
  /// trained one get right differ by at most 5 in 10,000, or 1.
  std::vector<std::string> complaints() const;
  Json json() const;
};

/// Where the state of `lowered` is not, bit for bit, that of lowering `trained` again.
std::vector<std::string> state_mismatches(const Graph& trained, const Graph& lowered, const std::string& epilogue);

/// Adds one batch; `on_codes` is evaluated(trained).
void add_batch(ModelParity& parity, const Graph& trained, const Graph& on_codes, const Graph& lowered,
               const Tensor& images, const Tensor& labels);

}  // namespace nibble
