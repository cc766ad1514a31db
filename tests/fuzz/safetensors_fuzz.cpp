#include <cstdint>

#include "core/safetensors.h"

/// Any bytes as a safetensors file: either an Error or tensors that can be read to their last byte.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto file = nibble::parse_safetensors(std::as_bytes(std::span(data, size)), "fuzz");
    unsigned sum = 0;
    for (const auto& [name, tensor] : file.tensors) {
      for (size_t i = 0; i < tensor.bytes(); ++i) sum += static_cast<unsigned>(tensor.raw()[i]);
    }
    [[maybe_unused]] const volatile unsigned used = sum;
  } catch (const nibble::Error&) {
  }
  return 0;
}
