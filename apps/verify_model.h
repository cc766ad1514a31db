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
  EvalResult trained, lowered;
  int64_t agree = 0;  ///< images for which both name the same class

  /// What is broken, one line each; empty if the contract holds: the file is what lowering gives, every edge is within
  /// its bounds (see broken() in quant/lowering/parity.h), and the numbers of images that the two get right differ by
  /// at most 5 in 10,000, or 1.
  std::vector<std::string> complaints() const;
  Json json() const;
};

/// Where the state of `lowered` is not, bit for bit, that of lowering `trained` again.
std::vector<std::string> state_mismatches(const Graph& trained, const Graph& lowered, const std::string& epilogue);

/// Adds one batch.
void add_batch(ModelParity& parity, const Graph& trained, const Graph& lowered, const Tensor& images,
               const Tensor& labels);

}  // namespace nibble
