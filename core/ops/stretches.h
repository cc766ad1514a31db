#pragma once

#include <numeric>
#include <vector>

#include "core/ops/elementwise_op.h"
#include "core/ops/row_blocks.h"

/// The stretches of an ElementwiseOp in the blocks of a tensor.
namespace nibble {

inline int64_t stretches_of(const RowBlocks& blocks) {
  return (blocks.elements() + ElementwiseOp::kStretch - 1) / ElementwiseOp::kStretch;
}

/// step(offset, elements, index) for the stretches of a block, which are numbered through all blocks.
template <class Step>
void each_stretch(const RowBlocks& blocks, int64_t block, const Step& step) {
  constexpr int64_t kStretch = ElementwiseOp::kStretch;
  const int64_t size = blocks.rows_in(block) * blocks.channels;
  for (int64_t first = 0; first < size; first += kStretch)
    step(first, std::min(kStretch, size - first), block * stretches_of(blocks) + first / kStretch);
}

/// One sum for every stretch of all blocks.
inline std::vector<double> stretch_sums(const RowBlocks& blocks) {
  return std::vector<double>(static_cast<size_t>(blocks.count() * stretches_of(blocks)), 0.0);
}

inline double total_of(const std::vector<double>& parts) { return std::accumulate(parts.begin(), parts.end(), 0.0); }

}  // namespace nibble
