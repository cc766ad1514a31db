#pragma once

#include <string_view>

#include "core/tensor.h"

namespace nibble {

/// A function of single elements with at most one trained parameter, such as a quantizer, as loops that another op can
/// run on what it has just computed and still has in the cache. Safe to call from several threads.
class ElementwiseOp {
 public:
  /// Sums over a tensor are formed from those of stretches of this many elements; a stretch ends where a block of
  /// RowBlocks does.
  static constexpr int64_t kStretch = 4096;

  virtual ~ElementwiseOp() = default;
  virtual std::string_view name() const = 0;
  /// y = f(x), where y may be x. Returns whether all x are finite; y is worthless if not.
  virtual bool forward(const float* x, float* y, int64_t n) const = 0;
  /// dx = dy * df/dx, where dx may be dy. Returns the sum of dy * df/dparameter over a stretch.
  virtual double backward(const float* x, const float* dy, float* dx, int64_t n) const = 0;
  /// Whether f(x) = f(0) and df/dx = 0 for all x < 0, so that it makes no difference what these are.
  virtual bool flat_below_zero() const { return false; }
  /// backward() of f(relu(x)) for x that are either none of them negative, or anything if f is flat below 0: dx = 0
  /// where x <= 0.
  virtual double backward_of_relu(const float* x, const float* dy, float* dx, int64_t n) const;
  /// Undefined if there is none; so is its gradient then.
  virtual const Tensor& parameter() const = 0;
  /// The gradient of the parameter, given the sum of what backward returned, stretch by stretch in order.
  virtual Tensor parameter_gradient(double sum) const = 0;
};

}  // namespace nibble
