#include "apps/tensorboard.h"

#include <bit>
#include <cstring>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "core/file.h"
#include "tests/apps/scratch.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

uint64_t fixed(std::string_view bytes, size_t at, int count) {
  uint64_t value = 0;
  for (int i = 0; i < count; ++i) value |= uint64_t{static_cast<uint8_t>(bytes[at + static_cast<size_t>(i)])} << 8 * i;
  return value;
}

/// Fields of a protocol buffer: number -> value; bytes as they are, numbers as decimal text.
std::multimap<uint64_t, std::string> decode(std::string_view bytes) {
  std::multimap<uint64_t, std::string> fields;
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes[at++]);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.size()) {
    const uint64_t key = varint();
    if ((key & 7) == 0) {
      fields.emplace(key >> 3, std::to_string(varint()));
    } else if ((key & 7) == 2) {
      const uint64_t size = varint();
      fields.emplace(key >> 3, bytes.substr(at, size));
      at += size;
    } else {
      const int size = (key & 7) == 1 ? 8 : 4;
      fields.emplace(key >> 3, std::to_string(fixed(bytes, at, size)));
      at += static_cast<size_t>(size);
    }
  }
  return fields;
}

/// The payloads of a TFRecord file, checksums checked.
std::vector<std::string> records(const std::string& file) {
  std::vector<std::string> found;
  const std::string_view view(file);
  for (size_t at = 0; at < view.size();) {
    REQUIRE(view.size() - at >= 16);
    const size_t size = fixed(view, at, 8);
    REQUIRE(view.size() - at >= 16 + size);
    CHECK(fixed(view, at + 8, 4) == masked_crc32c(view.substr(at, 8)));
    CHECK(fixed(view, at + 12 + size, 4) == masked_crc32c(view.substr(at + 12, size)));
    found.emplace_back(view.substr(at + 12, size));
    at += 16 + size;
  }
  return found;
}

std::string only_file(const std::string& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) return read_text_file(entry.path().string());
  return {};
}

}  // namespace

TEST_CASE("tensorboard: CRC-32C gives the values of RFC 3720") {
  CHECK(crc32c("") == 0);
  CHECK(crc32c("123456789") == 0xe3069283u);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
  std::string rising;
  for (char c = 0; c < 32; ++c) rising += c;
  CHECK(crc32c(rising) == 0x46dd794eu);
}

TEST_CASE("tensorboard: the mask rotates right by 15 and adds its constant") {
  const uint32_t crc = crc32c("123456789");
  CHECK(masked_crc32c("123456789") == static_cast<uint32_t>((crc >> 15 | crc << 17) + 0xa282ead8u));
}

TEST_CASE("tensorboard: a scalar event holds time, step, tag and value") {
  const auto event = decode(scalar_event(12.5, 300, {{"train/loss", 0.75}, {"lr", 0.1}}));
  CHECK(event.find(1)->second == std::to_string(std::bit_cast<uint64_t>(12.5)));
  CHECK(event.find(2)->second == "300");
  const auto summary = decode(event.find(5)->second);
  REQUIRE(summary.count(1) == 2);
  const auto value = decode(summary.find(1)->second);
  CHECK(value.find(1)->second == "train/loss");
  CHECK(value.find(2)->second == std::to_string(std::bit_cast<uint32_t>(0.75f)));
}

TEST_CASE("tensorboard: an event file begins with its version and holds every event") {
  const test::Scratch folder("events");
  {
    EventWriter writer(folder / "", 0);
    writer.add(1, {{"a", 1}});
    writer.add(2, {{"a", 2}});
  }
  const auto found = records(only_file(folder / ""));
  REQUIRE(found.size() == 3);
  CHECK(decode(found[0]).find(3)->second == "brain.Event:2");
  CHECK(decode(found[2]).find(2)->second == "2");
}

TEST_CASE("tensorboard: a resumed run tells readers to forget later steps") {
  const test::Scratch folder("events-resumed");
  { EventWriter writer(folder / "", 70); }
  const auto found = records(only_file(folder / ""));
  REQUIRE(found.size() == 2);
  const auto event = decode(found[1]);
  CHECK(event.find(2)->second == "70");
  CHECK(decode(event.find(7)->second).find(1)->second == "1");  // SessionLog.START
}

TEST_CASE("tensorboard: a folder that cannot be written is an error that names it") {
  CHECK_THROWS_AS(EventWriter("/proc/nowhere", 0), Error);
}

}  // namespace nibble
