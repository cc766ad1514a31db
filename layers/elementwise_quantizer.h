#pragma once

#include <memory>

#include "core/ops/clamp_then.h"
#include "core/ops/elementwise_op.h"
#include "layers/quantizer.h"

namespace nibble {

/// A quantizer of activations whose training pass can run inside that of the layers in front of it: fuse() then puts
/// both into one pass over memory.
class ElementwiseQuantizer : public Quantizer {
 public:
  /// What a training pass over an input of that shape computes now. Null if it needs more than one element at a time,
  /// for example the whole first tensor to find where it starts; such a pass is done by forward().
  virtual std::shared_ptr<const ElementwiseOp> training_op(const Shape& x) const = 0;
  /// Whether the other training_op() is the one to ask.
  virtual bool follows_range() const { return false; }
  /// The same of a quantizer whose state follows the range of its inputs, which happens here; null leaves the state to
  /// forward().
  virtual std::shared_ptr<const ElementwiseOp> training_op(const Shape& x, const ValueRange& range) {
    static_cast<void>(range);
    return training_op(x);
  }
};

}  // namespace nibble
