#pragma once

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"

namespace nibble {

/// A stretch of elements that lie in one channel.
struct Block {
  int64_t channel, begin, count;
};

/// How a tensor of which each of `channels` has an equal, contiguous part is cut into blocks: the same for any number
/// of threads, so that sums of their partial sums in order are, too. Throws Error if there are no equal parts.
class Blocks {
 public:
  Blocks(int64_t elements, int64_t channels)
      : channels_(channels),
        width_(channels > 0 ? elements / channels : 0),
        per_channel_(std::max<int64_t>(1, (width_ + kSize - 1) / kSize)) {
    NIBBLE_CHECK(channels > 0 && elements % channels == 0, "quantizer: ", elements, " elements have no ", channels,
                 " equal parts");
  }

  /// body(block) for every block, from several threads.
  template <class Body>
  void each(const Body& body) const {
    each_indexed([&](int64_t, const Block& block) { body(block); });
  }

  /// For each channel the sum of body(block), added in order; T starts as T{} and has +=.
  template <class T, class Body>
  std::vector<T> sum(const Body& body) const {
    std::vector<T> partial(static_cast<size_t>(channels_ * per_channel_)), result(static_cast<size_t>(channels_));
    each_indexed([&](int64_t i, const Block& block) { partial[static_cast<size_t>(i)] = body(block); });
    for (size_t i = 0; i < partial.size(); ++i) result[i / static_cast<size_t>(per_channel_)] += partial[i];
    return result;
  }

 private:
  static constexpr int64_t kSize = 4096;

  template <class Body>
  void each_indexed(const Body& body) const {
    const int64_t grain = std::max<int64_t>(1, kSize / std::max<int64_t>(1, width_));
    parallel_for(0, channels_ * per_channel_, grain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t channel = i / per_channel_, begin = channel * width_ + i % per_channel_ * kSize;
        body(i, Block{channel, begin, std::min(kSize, (channel + 1) * width_ - begin)});
      }
    });
  }

  int64_t channels_, width_, per_channel_;
};

}  // namespace nibble
