#pragma once

#include <vector>

#include "core/tensor.h"

/// Sums along the last axis in double: fixed blocks of rows added in order, so that they do not depend on the number of
/// threads.
namespace nibble {

/// Mean and sum of squared deviations from it, one of each per channel.
struct ChannelMoments {
  std::vector<double> mean, squares;
};
ChannelMoments channel_moments(const Tensor& x);

/// The same of a tensor that comes to be from its first row on.
class GrowingMoments {
 public:
  explicit GrowingMoments(const Tensor& x);
  /// So many rows of channels are there now.
  void grow(int64_t rows);
  /// Of all rows.
  ChannelMoments moments();

 private:
  Tensor x_, partial_;
  int64_t blocks_ = 0;  ///< done
};

/// Sums of g and of g * (x - center[c]), one of each per channel.
struct ChannelProducts {
  std::vector<double> total, product;
};
ChannelProducts channel_products(const Tensor& x, const Tensor& g, const std::vector<float>& center);

/// a[c] * g - (b[c] + slope[c] * (x - center[c])), and in `product` the sums of g * (x - center[c]).
Tensor channel_correct(const Tensor& x, const Tensor& g, const std::vector<float>& center, const std::vector<float>& a,
                       const std::vector<float>& b, const std::vector<float>& slope, std::vector<double>& product);

/// y = a[c] * x + b[c] into y's storage, which may be x's.
void channel_affine(const Tensor& x, const std::vector<float>& a, const std::vector<float>& b, const Tensor& y);

}  // namespace nibble
