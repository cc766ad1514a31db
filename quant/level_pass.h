#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/grid.h"

/// The levels of BitPlanes grids in ascending order, and one pass over a tensor that finds every element's level and
/// counts and sums the elements of each.
namespace nibble {

/// For every channel of a grid 2^bits levels, ascending, with their codes and the thresholds between them: an element
/// has the level whose index is the number of thresholds below it, as encode decides. Where levels of a grid are equal
/// there are fewer; the places behind them have a threshold that nothing exceeds.
class LevelTables {
 public:
  /// Reads the grid; keeps its storage from call to call.
  void build(const BitPlanes& grid);

  int64_t channels() const { return channels_; }
  /// 2^bits.
  size_t size() const { return size_; }
  std::span<const float> levels(int64_t channel) const { return row(levels_, channel, size_); }
  std::span<const float> thresholds(int64_t channel) const { return row(thresholds_, channel, size_ - 1); }
  std::span<const uint8_t> codes(int64_t channel) const { return row(codes_, channel, size_); }

 private:
  template <class T>
  static std::span<const T> row(const std::vector<T>& table, int64_t channel, size_t width) {
    return {table.data() + static_cast<size_t>(channel) * width, width};
  }

  int64_t channels_ = 0;
  size_t size_ = 0;
  std::vector<float> levels_, thresholds_;
  std::vector<uint8_t> codes_;
};

/// What each level of one channel got: (index in LevelTables) -> number of elements and sum of their values.
struct LevelSums {
  std::span<const int64_t> counts;
  std::span<const double> sums;
};

/// Runs of elements are summed in f32 (64 at most, in lanes of 16), runs and blocks in double and in order, so that
/// the bits depend neither on the number of threads nor on the length of the tensor's rest. Keeps its storage.
class LevelPass {
 public:
  /// y[i] = level of x[i] (y may be null), and for every level the count and the sum of values[i] over the x[i] that
  /// have it. Channels are equal parts of axis 0. Throws Error naming `who` if x is NaN or infinite somewhere.
  void run(std::string_view who, const Tensor& x, const LevelTables& tables, const float* values, float* y);
  LevelSums sums(int64_t channel) const;

 private:
  size_t size_ = 0;
  std::vector<int64_t> counts_, block_counts_;
  std::vector<double> sums_, block_sums_;
};

}  // namespace nibble
