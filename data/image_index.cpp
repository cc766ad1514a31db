#include "data/image_index.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <span>

#include "core/error.h"
#include "core/file.h"

namespace nibble {
namespace {

constexpr uint64_t kMagic = 0x0A315844494C424Eu;  // "NBLIDX1\n"

/// FNV-1a on words of 64 bits, the last one filled with zeros.
uint64_t checksum(std::span<const std::byte> bytes) {
  uint64_t hash = 0xCBF29CE484222325u ^ bytes.size();
  for (size_t i = 0; i < bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min<size_t>(8, bytes.size() - i));
    hash = (hash ^ word) * 0x100000001B3u;
    hash ^= hash >> 29;
  }
  return hash;
}

/// Texts ended by zeros, one after the other.
std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all.append(text).push_back('\0');
  return all;
}

std::vector<std::string> parted(const std::string& all) {
  std::vector<std::string> texts;
  for (size_t at = 0; at < all.size(); at += texts.back().size() + 1) texts.emplace_back(all.c_str() + at);
  return texts;
}

/// Parts of a file, each after its length in bytes.
class Writer {
 public:
  template <class T>
  void put(std::span<const T> values) {
    const uint64_t length = values.size_bytes();
    const auto* head = reinterpret_cast<const std::byte*>(&length);
    bytes_.insert(bytes_.end(), head, head + sizeof length);
    const auto body = std::as_bytes(values);
    bytes_.insert(bytes_.end(), body.begin(), body.end());
  }
  void put(const std::string& text) { put(std::span<const char>(text)); }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// Throws Error if the parts do not fit the file.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class Values>
  Values take() {
    using T = typename Values::value_type;
    uint64_t length = 0;
    NIBBLE_CHECK(bytes_.size() >= sizeof length, "a part is missing");
    std::memcpy(&length, bytes_.data(), sizeof length);
    bytes_ = bytes_.subspan(sizeof length);
    NIBBLE_CHECK(length <= bytes_.size() && length % sizeof(T) == 0, "a part is longer than the file");
    Values values(static_cast<size_t>(length / sizeof(T)), T());
    if (length > 0) std::memcpy(values.data(), bytes_.data(), static_cast<size_t>(length));
    bytes_ = bytes_.subspan(static_cast<size_t>(length));
    return values;
  }

 private:
  std::span<const std::byte> bytes_;
};

/// What the parts of a list promise to one another.
void check_list(const ImageList& list) {
  const size_t count = list.label.size();
  NIBBLE_CHECK(count > 0 && list.folder.size() == count && list.begin.size() == count, "its parts do not agree");
  NIBBLE_CHECK(!list.names.empty() && list.names.back() == '\0', "a name has no end");
  for (size_t i = 0; i < count; ++i)
    NIBBLE_CHECK(list.folder[i] < list.folders.size() && list.begin[i] < list.names.size() && list.label[i] >= 0,
                 "image ", i, " is out of range");
}

std::string changed(const std::vector<Watched>& then) {
  for (const Watched& old : then) {
    const Watched now = watch(old.path);
    if (now.time != old.time || now.size != old.size) return old.path;
  }
  return "";
}

/// Throws Error if the file is damaged.
std::optional<ImageList> parse(std::span<const std::byte> bytes, const ImageIndex& index, std::string& note) {
  std::array<uint64_t, 2> head{};
  NIBBLE_CHECK(bytes.size() >= sizeof head, "it is too short");
  std::memcpy(head.data(), bytes.data(), sizeof head);
  NIBBLE_CHECK(head[0] == kMagic, "it does not begin as an index does");
  bytes = bytes.subspan(sizeof head);
  NIBBLE_CHECK(head[1] == checksum(bytes), "its checksum is wrong");
  Reader reader(bytes);
  if (reader.take<std::string>() != index.key) return std::nullopt;  // another tree whose key has the same hash
  const auto paths = parted(reader.take<std::string>());
  const auto times = reader.take<std::vector<int64_t>>(), sizes = reader.take<std::vector<int64_t>>();
  NIBBLE_CHECK(paths.size() == times.size() && paths.size() == sizes.size(), "its parts do not agree");
  std::vector<Watched> watched;
  for (size_t i = 0; i < paths.size(); ++i) watched.push_back({paths[i], times[i], sizes[i]});
  if (const std::string path = changed(watched); !path.empty()) {
    note = concat_text("'", path, "' has changed since '", index.file, "' was written: listing the images again");
    return std::nullopt;
  }
  ImageList list;
  list.folders = parted(reader.take<std::string>());
  list.folder = reader.take<std::vector<uint32_t>>();
  list.label = reader.take<std::vector<int32_t>>();
  list.begin = reader.take<std::vector<uint32_t>>();
  list.names = reader.take<std::string>();
  check_list(list);
  return list;
}

}  // namespace

ImageIndex image_index(const std::string& folder, const std::string& split, const std::string& key) {
  constexpr char digits[] = "0123456789abcdef";
  std::string name = folder + "/" + split + "-";
  const uint64_t hash = checksum(std::as_bytes(std::span(key)));
  for (int shift = 60; shift >= 0; shift -= 4) name.push_back(digits[hash >> shift & 15]);
  return {name + ".images", key};
}

std::optional<ImageList> read_image_index(const ImageIndex& index, std::string& note) {
  if (!std::filesystem::exists(index.file)) return std::nullopt;
  try {
    return parse(read_file(index.file), index, note);
  } catch (const Error& error) {
    note =
        concat_text("the list of images '", index.file, "' is damaged (", error.what(), "): listing the images again");
    return std::nullopt;
  }
}

bool write_image_index(const ImageIndex& index, const Listing& listing) {
  using Clock = std::filesystem::file_time_type::clock;
  constexpr int64_t unsettled = std::chrono::duration_cast<Clock::duration>(std::chrono::seconds(2)).count();
  const auto now = static_cast<int64_t>(Clock::now().time_since_epoch().count());
  std::vector<std::string> paths;
  std::vector<int64_t> times, sizes;
  for (const Watched& watched : listing.watched) {
    if (watched.time > now - unsettled && watched.time < now + unsettled) return false;
    paths.push_back(watched.path);
    times.push_back(watched.time);
    sizes.push_back(watched.size);
  }
  const ImageList& list = listing.images;
  Writer writer;
  writer.put(index.key);
  writer.put(joined(paths));
  writer.put<int64_t>(times);
  writer.put<int64_t>(sizes);
  writer.put(joined(list.folders));
  writer.put<uint32_t>(list.folder);
  writer.put<int32_t>(list.label);
  writer.put<uint32_t>(list.begin);
  writer.put(list.names);
  const std::array<uint64_t, 2> head{kMagic, checksum(writer.bytes())};
  make_directories(std::filesystem::path(index.file).parent_path().string());
  write_file_atomically(index.file, {std::as_bytes(std::span(head)), std::span(writer.bytes())});
  return true;
}

}  // namespace nibble
