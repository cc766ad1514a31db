#include "data/image.h"

#include <algorithm>
#include <memory>

#include "core/error.h"
#include "core/file.h"
#include "data/image_check.h"
#include "third_party/stb_image.h"

namespace nibble {
namespace {

constexpr int64_t kMaxPixels = int64_t{64} << 20;
constexpr size_t kMaxFile = size_t{256} << 20;

bool is_jpeg(std::span<const uint8_t> bytes) { return bytes.size() >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8; }

bool is_png(std::span<const uint8_t> bytes) {
  constexpr uint8_t signature[8] = {0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A};
  return bytes.size() >= 33 && std::equal(std::begin(signature), std::end(signature), bytes.begin());
}

/// The most pixels that a file of this length can hold: no file smaller than its image by more than the format's best
/// ratio is whole, and the decoder would allocate the claimed size before finding that out. Every 8x8 block of a JPEG
/// costs at least one bit, and a zlib stream shrinks at most 1032 to 1.
int64_t most_pixels(std::span<const uint8_t> bytes) {
  const auto length = static_cast<int64_t>(bytes.size());
  if (is_jpeg(bytes)) return length * 8 * 64;
  constexpr int channels[7] = {1, 1, 3, 1, 2, 1, 4};
  const int depth = std::clamp<int>(bytes[24], 1, 16), colour = bytes[25];
  return length * 1032 * 8 / (depth * (colour < 7 ? channels[colour] : 1));
}

}  // namespace

Image decode_image(std::span<const uint8_t> bytes, const std::string& name) {
  NIBBLE_CHECK(is_jpeg(bytes) || is_png(bytes), name, ": neither a JPEG nor a PNG image (", bytes.size(), " bytes)");
  NIBBLE_CHECK(bytes.size() <= kMaxFile, name, ": ", bytes.size(), " bytes are more than the limit of ", kMaxFile);
  const char* const kind = is_jpeg(bytes) ? "JPEG" : "PNG";
  if (is_jpeg(bytes))
    check_jpeg(bytes, name);
  else
    check_png(bytes, name);
  const auto length = static_cast<int>(bytes.size());
  int width = 0, height = 0, channels = 0;
  if (!stbi_info_from_memory(bytes.data(), length, &width, &height, &channels))
    throw Error(concat_text(name, ": damaged ", kind, " header (", stbi_failure_reason(), ")"));
  NIBBLE_CHECK(width > 0 && height > 0, name, ": the ", kind, " header claims no pixels (", width, "x", height, ")");
  const int64_t pixels = int64_t{width} * height;
  NIBBLE_CHECK(pixels <= kMaxPixels, name, ": ", width, "x", height, " pixels are more than the limit of ", kMaxPixels);
  NIBBLE_CHECK(pixels <= most_pixels(bytes), name, ": a ", kind, " image of ", width, "x", height,
               " pixels cannot fit in ", bytes.size(), " bytes: the file is truncated or its header damaged");
  const std::unique_ptr<stbi_uc, void (*)(void*)> decoded(
      stbi_load_from_memory(bytes.data(), length, &width, &height, &channels, 3), stbi_image_free);
  if (!decoded) throw Error(concat_text(name, ": damaged ", kind, " image (", stbi_failure_reason(), ")"));
  return {height, width, std::vector<uint8_t>(decoded.get(), decoded.get() + int64_t{height} * width * 3)};
}

Image load_image(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path, kMaxFile);
  return decode_image({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, path);
}

}  // namespace nibble
