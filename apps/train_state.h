#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "core/safetensors.h"

namespace nibble {

/// Where a run stands, all of it, besides the parameters, buffers, optimizer moments and averages.
struct TrainState {
  int64_t step = 0;   ///< optimizer steps done
  int64_t epoch = 0;  ///< number of the epoch in progress, from 0
  int64_t batch = 0;  ///< batches of it that are done; all of them if only its evaluation is missing
  Rng rng{0};         ///< for layers that draw random numbers

  // Sums over the batches of this epoch.
  double loss_sum = 0;
  int64_t correct = 0, images = 0;

  double best_top1 = -1;
  int64_t best_epoch = 0;
  double seconds = 0;  ///< spent on this run before the process that goes on with it

  /// "train/step", "train/epoch", "train/batch", "train/rng" (seed, stream, position) and "train/sums"; doubles are
  /// stored as their bits.
  std::vector<std::pair<std::string, Tensor>> tensors() const;
  /// Throws Error naming `origin` and the tensor that is missing or misshapen.
  static TrainState from(const TensorFile& file, const std::string& origin);
};

}  // namespace nibble
