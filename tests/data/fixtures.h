#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/config.h"
#include "data/dataset.h"
#include "data/image.h"
#include "third_party/doctest.h"

namespace nibble::data_test {

/// An empty folder of this test's own, removed with everything in it.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "nibble-data-XXXXXX").string();
    if (!mkdtemp(name.data())) throw Error("test: cannot make a temporary folder");
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string path() const { return path_.string(); }
  std::string write(const std::string& name, const std::vector<uint8_t>& bytes) const {
    const auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return file.string();
  }

 private:
  std::filesystem::path path_;
};

/// The message of the error that `call` throws, or "" if it throws none.
template <class Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline bool mentions(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    if (text.find(part) == std::string::npos) {
      MESSAGE("'", text, "' does not mention '", part, "'");
      return false;
    }
  return true;
}

inline std::shared_ptr<DataSource> make_source(const std::string& json) {
  return Registry<DataSource>::get().make(parse_config(json, "test.json"));
}

/// A picture of any size without symmetries; make_golden.py draws the same.
inline Image pattern(int height, int width) {
  Image image{height, width, {}};
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (const int v : {(x * 37 + y * 11) % 256, (x * x + 3 * y * y) % 256, (x / 3 + y / 2) % 2 ? 255 : 20})
        image.pixels.push_back(static_cast<uint8_t>(v));
  return image;
}

/// The largest difference of two equally long byte strings, or 256 if their lengths differ.
inline int distance(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  if (a.size() != b.size()) return 256;
  int most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

/// FNV-1a.
inline uint64_t checksum(const std::vector<uint8_t>& bytes) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001B3u;
  return hash;
}

/// Where the real data is unpacked, or "" (with a message) if it is not there.
inline std::string real_data(const std::string& what) {
  const char* root = std::getenv("NIBBLE_DATA");
  const std::string path = root ? std::string(root) + "/" + what : "";
  if (root && std::filesystem::exists(path)) return path;
  MESSAGE("skipped: ", what, " is not under $NIBBLE_DATA");
  return "";
}

}  // namespace nibble::data_test
