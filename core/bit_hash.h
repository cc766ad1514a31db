#pragma once

#include <cstdint>
#include <string>

#include "core/tensor.h"

namespace nibble {

/// A 64-bit FNV-1a hash of the bits of tensors, one after the other: equal for any cutting of the same values along the
/// first axis, and different, but for a chance of about 2^-64, as soon as one bit is.
class BitHash {
 public:
  void add(const Tensor& values);
  uint64_t value() const { return value_; }
  /// "0x" and 16 digits.
  std::string text() const;

 private:
  uint64_t value_ = 0xcbf29ce484222325;
};

}  // namespace nibble
