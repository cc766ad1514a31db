#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace nibble {

/// Checks of a file's structure that stb_image (2.27) does not make itself: it reads beyond its tables, or shows memory
/// that nobody wrote, if a damaged file gets that far. What is inside the compressed data stays the decoder's business.

/// Walks the segments of a JPEG from its start to its end marker: tables of legal size and defined before they are
/// used, one frame, every component coded, no restart marker missing. Throws Error naming `name` and the byte offset.
void check_jpeg(std::span<const uint8_t> bytes, const std::string& name);

/// Walks the chunks of a PNG up to IEND and compares their checksums. Throws Error naming `name` and the byte offset.
void check_png(std::span<const uint8_t> bytes, const std::string& name);

}  // namespace nibble
