#include "quant/level_pass.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "core/kernels/elementwise/dispatch.h"
#include "core/parallel.h"
#include "quant/finite.h"

namespace nibble {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr int64_t kLanes = 16;            ///< elements that climb() takes at a time
constexpr int64_t kStretch = 1024;        ///< elements that stay in the first-level cache
constexpr int64_t kBlock = 8 * kStretch;  ///< elements whose sums are formed by one thread
constexpr size_t kMostChained = 31;       ///< thresholds; beyond, a search is faster than a chain of comparisons

/// The largest float that is not above the middle of a and b, as in encode: x > threshold decides for every float.
float threshold_between(float a, float b) {
  const double middle = (static_cast<double>(a) + b) / 2;
  const auto near = static_cast<float>(middle);
  return near <= middle ? near : std::nextafter(near, -kInfinity);
}

/// One channel's table, and where the pass over a part of that channel puts what it finds: sums[l] and counts[l] are
/// over the elements above threshold l - 1, those at 0 over all.
struct Part {
  const float *levels, *thresholds;
  size_t size;
  double* sums;
  int64_t* counts;
};

/// Up to kStretch elements, a multiple of kLanes.
bool chain(const Part& part, const float* x, const float* values, float* y, int64_t n) {
  const auto size = static_cast<int64_t>(part.size);
  return elementwise::kernels().climb(x, values, {part.levels, part.thresholds, size, part.sums, part.counts}, y, n);
}

/// The same element by element: any number of thresholds, any length, sums in double.
bool search(const Part& part, const float* x, const float* values, float* y, int64_t n) {
  if (n == 0) return true;
  constexpr size_t kMost = 256;
  double sums[kMost];
  int64_t counts[kMost];
  std::fill_n(sums, part.size, 0.0);
  std::fill_n(counts, part.size, int64_t{0});
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    size_t level = 0;
    for (size_t half = part.size / 2; half > 0; half /= 2)
      level += x[i] > part.thresholds[level + half - 1] ? half : size_t{0};
    finite &= x[i] - x[i] == 0;
    sums[level] += values[i];
    ++counts[level];
    y[i] = part.levels[level];
  }
  double sum = 0;
  int64_t count = 0;
  for (size_t l = part.size; l-- > 0;) {
    part.sums[l] += sum += sums[l];
    part.counts[l] += count += counts[l];
  }
  return finite;
}

/// A whole block. Returns false if x is not finite.
bool quantize_block(const Part& part, const float* x, const float* values, float* y, int64_t n) {
  float unwanted[kStretch];
  bool finite = true;
  for (int64_t first = 0; first < n; first += kStretch) {
    const int64_t count = std::min(kStretch, n - first);
    const int64_t chained = part.size - 1 > kMostChained ? 0 : count - count % kLanes;
    float* to = y != nullptr ? y + first : unwanted;
    finite &= chain(part, x + first, values + first, to, chained);
    finite &= search(part, x + first + chained, values + first + chained, to + chained, count - chained);
  }
  return finite;
}

bool all_finite(const double* sums, size_t n) {
  return std::all_of(sums, sums + n, [](double v) { return std::isfinite(v); });
}

}  // namespace

void LevelTables::build(const BitPlanes& grid) {
  check_grid(grid, channel_count(grid));
  channels_ = channel_count(grid);
  size_ = static_cast<size_t>(level_count(grid));
  const size_t all = static_cast<size_t>(channels_) * size_;
  levels_.resize(all);
  codes_.resize(all);
  thresholds_.resize(all - static_cast<size_t>(channels_));
  for (int64_t c = 0; c < channels_; ++c) {
    const std::vector<float> by_code = levels_of(grid, c);
    float* levels = levels_.data() + static_cast<size_t>(c) * size_;
    float* thresholds = thresholds_.data() + static_cast<size_t>(c) * (size_ - 1);
    uint8_t* codes = codes_.data() + static_cast<size_t>(c) * size_;
    for (size_t code = 0; code < size_; ++code) codes[code] = static_cast<uint8_t>(code);
    std::ranges::sort(codes, codes + size_, [&](uint8_t a, uint8_t b) {
      return by_code[a] < by_code[b] || (by_code[a] == by_code[b] && a < b);
    });
    const uint8_t* end =
        std::unique(codes, codes + size_, [&](uint8_t a, uint8_t b) { return by_code[a] == by_code[b]; });
    const auto distinct = static_cast<size_t>(end - codes);
    std::fill(codes + distinct, codes + size_, codes[distinct - 1]);
    for (size_t l = 0; l < size_; ++l) levels[l] = by_code[codes[l]];
    for (size_t l = 0; l + 1 < size_; ++l)
      thresholds[l] = l + 1 < distinct ? threshold_between(levels[l], levels[l + 1]) : kInfinity;
  }
}

void LevelPass::run(std::string_view who, const Tensor& x, const LevelTables& tables, const float* values, float* y) {
  const int64_t channels = tables.channels(), width = x.numel() / channels;
  NIBBLE_CHECK(channels == 1 || (x.rank() > 0 && x.dim(0) == channels), who, ": the quantizer has ", channels,
               " channels, which does not fit axis 0 of shape ", x.shape());
  const int64_t blocks = (width + kBlock - 1) / kBlock;
  size_ = tables.size();
  const float* from = x.data<float>().data();
  block_counts_.assign(static_cast<size_t>(channels * blocks) * size_, 0);
  block_sums_.assign(block_counts_.size(), 0);
  std::atomic<bool> finite{true};
  const int64_t grain = std::max<int64_t>(1, kBlock / std::max<int64_t>(1, width));
  parallel_for(0, channels * blocks, grain, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      const int64_t channel = b / blocks, begin = channel * width + b % blocks * kBlock;
      const int64_t count = std::min(kBlock, (channel + 1) * width - begin);
      const size_t at = static_cast<size_t>(b) * size_;
      const Part part{tables.levels(channel).data(), tables.thresholds(channel).data(), size_, &block_sums_[at],
                      &block_counts_[at]};
      float* to = y != nullptr ? y + begin : nullptr;
      if (!quantize_block(part, from + begin, values + begin, to, count)) finite = false;
      if (all_finite(part.sums, size_)) continue;
      // Sums of huge values leave the range of f32, but not that of double.
      std::fill_n(part.sums, size_, 0.0);
      std::fill_n(part.counts, size_, int64_t{0});
      float unwanted[kStretch];
      for (int64_t i = 0; i < count; i += kStretch)
        search(part, from + begin + i, values + begin + i, unwanted, std::min(kStretch, count - i));
    }
  });
  if (!finite) check_finite(who, x);
  counts_.assign(static_cast<size_t>(channels) * size_, 0);
  sums_.assign(counts_.size(), 0);
  for (size_t b = 0; b < static_cast<size_t>(channels * blocks); ++b) {
    const size_t to = b / static_cast<size_t>(blocks) * size_, at = b * size_;
    for (size_t l = 0; l < size_; ++l) {
      const bool top = l + 1 == size_;
      counts_[to + l] += block_counts_[at + l] - (top ? 0 : block_counts_[at + l + 1]);
      sums_[to + l] += block_sums_[at + l] - (top ? 0 : block_sums_[at + l + 1]);
    }
  }
}

LevelSums LevelPass::sums(int64_t channel) const {
  const size_t at = static_cast<size_t>(channel) * size_;
  return {{counts_.data() + at, size_}, {sums_.data() + at, size_}};
}

}  // namespace nibble
