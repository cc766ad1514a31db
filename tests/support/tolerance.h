#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace nibble::test {

/// "" if every |got - expected| <= relative * max |expected| + absolute, else what differs first. NaN never passes.
inline std::string compare(const std::vector<double>& got, const std::vector<double>& expected, double relative,
                           double absolute = 0) {
  if (got.size() != expected.size()) {
    return concat_text("sizes differ: ", got.size(), " and ", expected.size());
  }
  double largest = 0;
  for (const double value : expected) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < got.size(); ++i) {
    if (!(std::abs(got[i] - expected[i]) <= relative * largest + absolute)) {
      return concat_text("element ", i, ": got ", got[i], ", expected ", expected[i], " (largest ", largest, ")");
    }
  }
  return "";
}

inline std::string compare(const Tensor& got, const std::vector<double>& expected, double relative,
                           double absolute = 0) {
  const auto values = got.data<float>();
  return compare(std::vector<double>(values.begin(), values.end()), expected, relative, absolute);
}

/// Equal shape, type and bits.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

}  // namespace nibble::test
