#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nibble {

/// 8-bit RGB pixels, row-major, (height, width, 3).
struct Image {
  int height = 0, width = 0;
  std::vector<uint8_t> pixels;
};

/// Decodes JPEG or PNG: grey and (Adobe) CMYK become RGB, 16 bits become 8, transparency is dropped. Throws Error
/// naming `name` if the bytes are neither, are damaged, or the size is out of bounds (64 Mi pixels, or more than a file
/// of that length can hold).
Image decode_image(std::span<const uint8_t> bytes, const std::string& name);
/// Reads and decodes a file; throws Error naming it.
Image load_image(const std::string& path);

}  // namespace nibble
