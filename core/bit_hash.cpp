#include "core/bit_hash.h"

#include <cstdio>

namespace nibble {

void BitHash::add(const Tensor& values) {
  for (const std::byte byte : std::span(values.raw(), values.bytes())) {
    value_ ^= static_cast<uint64_t>(byte);
    value_ *= 0x100000001b3;
  }
}

std::string BitHash::text() const {
  char text[24];
  std::snprintf(text, sizeof text, "0x%016llx", static_cast<unsigned long long>(value_));
  return text;
}

}  // namespace nibble
