#include "core/shape.h"

#include <algorithm>
#include <ostream>

#include "core/error.h"

namespace nibble {

namespace {
constexpr int64_t kMaxElements = int64_t{1} << 48;
}

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  NIBBLE_CHECK(dims.size() <= kMaxRank, "shape: at most ", kMaxRank, " axes, got ", dims.size());
  int64_t product = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    NIBBLE_CHECK(dims[i] >= 0, "shape: axis ", i, " has the negative extent ", dims[i]);
    NIBBLE_CHECK(dims[i] == 0 || product <= kMaxElements / dims[i], "shape: more than 2^48 elements");
    product *= std::max<int64_t>(dims[i], 1);
    dims_[i] = dims[i];
  }
}

int64_t Shape::numel() const {
  int64_t product = 1;
  for (int64_t extent : *this) product *= extent;
  return product;
}

bool Shape::operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (int axis = 0; axis < shape.rank(); ++axis) out << (axis ? "," : "") << shape[axis];
  return out << ']';
}

}  // namespace nibble
