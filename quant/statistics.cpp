#include "quant/statistics.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"

namespace nibble {

namespace {

constexpr int64_t kBlock = 1 << 14;

/// Folds every block of every part into a T by reduce(values, count), then the blocks in order by merge(T&, T).
template <class T, class Reduce, class Merge>
std::vector<T> fold(const Tensor& x, int64_t channels, const Reduce& reduce, const Merge& merge) {
  NIBBLE_CHECK(channels > 0 && x.numel() % channels == 0, "statistics: shape ", x.shape(), " has no ", channels,
               " equal parts");
  const int64_t width = x.numel() / channels, blocks = std::max<int64_t>(1, (width + kBlock - 1) / kBlock);
  std::vector<T> partial(static_cast<size_t>(channels * blocks));
  const float* values = x.data<float>().data();
  parallel_for(0, channels * blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      const int64_t channel = b / blocks, begin = channel * width + b % blocks * kBlock;
      partial[static_cast<size_t>(b)] = reduce(values + begin, std::min(kBlock, (channel + 1) * width - begin));
    }
  });
  std::vector<T> result(static_cast<size_t>(channels));
  for (int64_t b = 0; b < channels * blocks; ++b) {
    T& total = result[static_cast<size_t>(b / blocks)];
    if (b % blocks == 0)
      total = partial[static_cast<size_t>(b)];
    else
      merge(total, partial[static_cast<size_t>(b)]);
  }
  return result;
}

}  // namespace

std::vector<double> mean_absolute(const Tensor& x, int64_t channels) {
  auto sums = fold<double>(
      x, channels,
      [](const float* v, int64_t n) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) sum += std::abs(v[i]);
        return sum;
      },
      [](double& total, double part) { total += part; });
  for (double& sum : sums) sum /= static_cast<double>(std::max<int64_t>(1, x.numel() / channels));
  return sums;
}

std::vector<float> max_absolute(const Tensor& x, int64_t channels) {
  return fold<float>(
      x, channels,
      [](const float* v, int64_t n) {
        float most = 0;
        for (int64_t i = 0; i < n; ++i) most = std::max(most, std::abs(v[i]));
        return most;
      },
      [](float& total, float part) { total = std::max(total, part); });
}

std::vector<Extremes> extremes(const Tensor& x, int64_t channels) {
  return fold<Extremes>(
      x, channels,
      [](const float* v, int64_t n) {
        if (n <= 0) return Extremes{};
        Extremes found{v[0], v[0]};
        for (int64_t i = 1; i < n; ++i) {
          found.lowest = std::min(found.lowest, v[i]);
          found.highest = std::max(found.highest, v[i]);
        }
        return found;
      },
      [](Extremes& total, Extremes part) {
        total = {std::min(total.lowest, part.lowest), std::max(total.highest, part.highest)};
      });
}

}  // namespace nibble
