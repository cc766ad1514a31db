#include "data/image.h"

#include <algorithm>

#include "tests/data/fixtures.h"
#include "tests/data/golden.h"

using namespace nibble;
using namespace nibble::data_test;

namespace {

Image decode(const std::vector<uint8_t>& bytes) { return decode_image(bytes, "picture"); }

std::string decode_error(const std::vector<uint8_t>& bytes) {
  return error_of([&] { decode(bytes); });
}

size_t find_marker(const std::vector<uint8_t>& jpeg, uint8_t marker) {
  for (size_t i = 0; i + 1 < jpeg.size(); ++i)
    if (jpeg[i] == 0xFF && jpeg[i + 1] == marker) return i;
  return jpeg.size();
}

}  // namespace

TEST_CASE("image: colour, grey, CMYK and progressive JPEGs decode as Pillow decodes them") {
  // Decoders differ by their inverse cosine transform, and by how they enlarge subsampled colour.
  CHECK(distance(decode(golden::jpeg_rgb).pixels, golden::jpeg_rgb_pixels) <= 3);
  CHECK(distance(decode(golden::jpeg_grey).pixels, golden::jpeg_grey_pixels) <= 2);
  CHECK(distance(decode(golden::jpeg_cmyk).pixels, golden::jpeg_cmyk_pixels) <= 3);
  CHECK(distance(decode(golden::jpeg_progressive).pixels, golden::jpeg_progressive_pixels) <= 8);
  const Image grey = decode(golden::jpeg_grey);
  CHECK(grey.height == 12);
  CHECK(grey.width == 16);
  for (size_t i = 0; i < grey.pixels.size(); i += 3) CHECK(grey.pixels[i] == grey.pixels[i + 2]);
}

TEST_CASE("image: PNGs decode exactly, whatever their colour type") {
  CHECK(decode(golden::png_rgb).pixels == golden::png_rgb_pixels);
  CHECK(decode(golden::png_grey).pixels == golden::png_grey_pixels);
  CHECK(decode(golden::png_alpha).pixels == golden::png_alpha_pixels);
  CHECK(decode(golden::png_palette).pixels == golden::png_palette_pixels);
}

TEST_CASE("image: bytes that are no image are an error with the name of the file") {
  CHECK(mentions(decode_error({}), {"picture", "neither a JPEG nor a PNG"}));
  CHECK(mentions(decode_error({'h', 'e', 'l', 'l', 'o'}), {"picture", "neither", "5 bytes"}));
  CHECK(mentions(decode_error({0xFF, 0xD8, 0xFF}), {"picture", "damaged JPEG"}));
  const TempFolder folder;
  const std::string path = folder.write("a.JPEG", {'G', 'I', 'F', '8', '9', 'a'});
  CHECK(mentions(error_of([&] { load_image(path); }), {path, "neither"}));
  CHECK(mentions(error_of([&] { load_image(path + ".none"); }), {path + ".none"}));
}

TEST_CASE("image: a file cut anywhere is an error, never a partly grey picture") {
  for (const auto* file : {&golden::jpeg_rgb, &golden::jpeg_grey, &golden::jpeg_cmyk, &golden::jpeg_progressive,
                           &golden::png_rgb, &golden::png_palette})
    for (size_t length = 0; length + 12 < file->size(); length += 7) {
      CAPTURE(length);
      CHECK(mentions(decode_error({file->begin(), file->begin() + static_cast<int64_t>(length)}), {"picture"}));
    }
}

TEST_CASE("image: a header that claims a huge picture is refused before anything is allocated") {
  auto jpeg = golden::jpeg_rgb;
  const size_t frame = find_marker(jpeg, 0xC0);
  jpeg[frame + 5] = jpeg[frame + 7] = 0x10;
  CHECK(mentions(decode_error(jpeg), {"4112x4108", "cannot fit in", "truncated"}));
  jpeg[frame + 5] = jpeg[frame + 7] = 0x40;
  CHECK(mentions(decode_error(jpeg), {"picture", "16400x16396", "limit"}));
}

TEST_CASE("image: tables that the decoder would overrun are refused with their place") {
  auto jpeg = golden::jpeg_rgb;
  const size_t huffman = find_marker(jpeg, 0xC4);
  jpeg[huffman + 10] = 200;
  CHECK(mentions(decode_error(jpeg),
                 {"picture", "damaged JPEG", "Huffman table", "byte offset " + std::to_string(huffman + 2)}));
  jpeg = golden::jpeg_rgb;
  jpeg[find_marker(jpeg, 0xDB) + 1] = 0xE9;  // the first quantisation table becomes an application's segment
  CHECK(mentions(decode_error(jpeg), {"quantisation table is missing"}));
  auto png = golden::png_rgb;
  png[50] ^= 4;
  CHECK(mentions(decode_error(png), {"picture", "damaged PNG", "checksum"}));
}

TEST_CASE("image: four-channel JPEGs whose coding is not marked are refused") {
  auto jpeg = golden::jpeg_cmyk;
  const size_t adobe = find_marker(jpeg, 0xEE);
  REQUIRE(adobe < jpeg.size());
  jpeg[adobe + 4] = 'B';
  CHECK(mentions(decode_error(jpeg), {"picture", "four colour channels", "Adobe"}));
}

TEST_CASE("image: damaged bytes give a picture or an error, never a crash") {
  for (const auto* file : {&golden::jpeg_rgb, &golden::jpeg_cmyk, &golden::jpeg_progressive, &golden::png_palette})
    for (size_t i = 2; i < file->size(); ++i) {
      auto damaged = *file;
      damaged[i] ^= static_cast<uint8_t>(1u << (i % 8));
      try {
        const Image image = decode(damaged);
        CHECK(image.pixels.size() == static_cast<size_t>(image.height) * static_cast<size_t>(image.width) * 3);
      } catch (const Error&) {
      }
    }
}

TEST_CASE("image: full-size photographs, six of them grey, decode") {
  const std::string root = real_data("imagenet-sample/val");
  if (root.empty()) return;
  int images = 0, grey = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file() || images == 12) continue;
    const Image image = load_image(entry.path().string());
    bool colour = false;
    for (size_t i = 0; i < image.pixels.size(); i += 3) colour = colour || image.pixels[i] != image.pixels[i + 1];
    grey += !colour;
    ++images;
  }
  CHECK(images == 12);
  CHECK(grey < images);
}
