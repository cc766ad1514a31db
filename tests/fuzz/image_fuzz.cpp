#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "core/error.h"
#include "data/image.h"

/// Any bytes give a picture of the size it claims, or an Error.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const nibble::Image image = nibble::decode_image({data, size}, "fuzz");
    const auto pixels = static_cast<size_t>(image.height) * static_cast<size_t>(image.width);
    if (image.pixels.size() != pixels * 3) std::abort();
  } catch (const nibble::Error&) {
  }
  return 0;
}
