#include "data/image_check.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/error.h"

namespace nibble {
namespace {

using Bytes = std::span<const uint8_t>;

[[noreturn]] void damaged(const char* kind, const std::string& name, size_t offset, std::string_view what) {
  throw Error(concat_text(name, ": damaged ", kind, " image: ", what, " (byte offset ", offset, ")"));
}

/// One pass over the segments of a JPEG (ITU T.81, annex B).
class JpegWalk {
 public:
  JpegWalk(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  void run() {
    at_ = 2;
    while (true) {
      const uint8_t marker = next_marker();
      if (marker == 0xD9) break;
      segment(marker);
    }
    require(coded_ != 0 && coded_ == (1 << components_) - 1, "a colour component is never coded");
  }

 private:
  struct Component {
    int id = 0, h = 1, v = 1, quantiser = 0;
  };

  void require(bool good, std::string_view what) const {
    if (!good) damaged("JPEG", name_, at_, what);
  }
  uint8_t byte(size_t offset) const { return bytes_[at_ + offset]; }
  int word(size_t offset) const { return byte(offset) << 8 | byte(offset + 1); }

  /// Moves behind the next marker that is not a restart marker, of which it counts how many it passed.
  uint8_t next_marker() {
    restarts_ = 0;
    while (true) {
      while (at_ < bytes_.size() && bytes_[at_] != 0xFF) ++at_;
      while (at_ < bytes_.size() && bytes_[at_] == 0xFF) ++at_;
      require(at_ < bytes_.size(), "the file is truncated, its end marker is missing");
      const uint8_t marker = bytes_[at_++];
      if (marker >= 0xD0 && marker <= 0xD7) {
        ++restarts_;
      } else if (marker != 0) {
        require(restarts_ >= restarts_needed_, "restart markers are missing");
        restarts_needed_ = 0;
        return marker;
      }
    }
  }

  void segment(uint8_t marker) {
    require(at_ + 2 <= bytes_.size(), "the file is truncated in a segment");
    const auto length = static_cast<size_t>(word(0));
    require(length >= 2 && at_ + length <= bytes_.size(), "a segment is longer than the file");
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (marker == 0xC4)
      huffman_tables(length);
    else if (marker == 0xDB)
      quantisers(length);
    else if (marker == 0xDA)
      scan(length);
    else if (marker == 0xEE)
      adobe(length);
    else if (frame)
      frame_header(marker, length);
    else if (marker == 0xDD) {
      require(length == 4, "a restart interval of the wrong length");
      restart_interval_ = word(2);
    }
    at_ += length;
  }

  void huffman_tables(size_t length) {
    size_t i = 2;
    while (i < length) {
      require(i + 17 <= length, "a Huffman table is cut off");
      const int kind = byte(i) >> 4, id = byte(i) & 15;
      require(kind <= 1 && id <= 3, "a Huffman table has an unknown kind");
      size_t symbols = 0;
      for (size_t k = 1; k <= 16; ++k) symbols += byte(i + k);
      require(symbols <= (kind == 0 ? 16 : 256), "a Huffman table has too many symbols");
      require(i + 17 + symbols <= length, "a Huffman table is cut off");
      for (size_t k = 0; kind == 0 && k < symbols; ++k)
        require(byte(i + 17 + k) <= 15, "a Huffman table has a symbol out of range");
      defined_[static_cast<size_t>(kind)] |= 1 << id;
      i += 17 + symbols;
    }
  }

  void quantisers(size_t length) {
    size_t i = 2;
    while (i < length) {
      const int wide = byte(i) >> 4, id = byte(i) & 15;
      require(wide <= 1 && id <= 3, "a quantisation table has an unknown kind");
      i += wide ? 129 : 65;
      require(i <= length, "a quantisation table is cut off");
      quantisers_ |= 1 << id;
    }
  }

  void adobe(size_t length) {
    constexpr std::string_view tag("Adobe\0", 6);
    if (length < 14) return;
    const bool named = std::equal(tag.begin(), tag.end(), bytes_.begin() + static_cast<int64_t>(at_) + 2,
                                  [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; });
    if (named) cmyk_is_marked_ = byte(13) == 0 || byte(13) == 2;
  }

  void frame_header(uint8_t marker, size_t length) {
    require(marker <= 0xC2, "lossless, hierarchical and arithmetic coding are not supported");
    require(components_ == 0, "a second frame");
    require(length >= 8, "a frame header is cut off");
    components_ = byte(7);
    require((components_ == 1 || components_ == 3 || components_ == 4) &&
                length == 8 + 3 * static_cast<size_t>(components_),
            "a frame header that does not fit its number of components");
    require(components_ != 4 || cmyk_is_marked_,
            "four colour channels without an Adobe marker that says how to read them are not supported");
    progressive_ = marker == 0xC2;
    height_ = word(3);
    width_ = word(5);
    for (size_t c = 0; c < static_cast<size_t>(components_); ++c) {
      const int sampling = byte(9 + 3 * c);
      component_[c] = {byte(8 + 3 * c), sampling >> 4, sampling & 15, byte(10 + 3 * c)};
      require(component_[c].h >= 1 && component_[c].h <= 4 && component_[c].v >= 1 && component_[c].v <= 4 &&
                  component_[c].quantiser <= 3,
              "a frame header with sampling factors or tables out of range");
      h_max_ = std::max(h_max_, component_[c].h);
      v_max_ = std::max(v_max_, component_[c].v);
    }
  }

  void scan(size_t length) {
    constexpr int most_scans = 128;  // a thousand passes over a large image would take minutes
    require(components_ > 0, "a scan before the frame header");
    require(++scans_ <= most_scans, "more than 128 scans");
    require(length >= 8, "a scan header is cut off");
    const auto count = static_cast<size_t>(byte(2));
    require(count >= 1 && count <= static_cast<size_t>(components_) && length == 6 + 2 * count,
            "a scan header that does not fit its number of components");
    const int first = byte(3 + 2 * count), high = byte(5 + 2 * count) >> 4;
    const bool direct = !progressive_ || first == 0, alternating = !progressive_ || first > 0;
    const bool tables = !progressive_ || high == 0;
    require(!progressive_ || count == 1 || first == 0, "a progressive scan of several components");
    int64_t units = 0;
    for (size_t i = 0; i < count; ++i) {
      const Component* found = std::find_if(component_.data(), component_.data() + components_,
                                            [&](const Component& c) { return c.id == byte(3 + 2 * i); });
      const auto c = static_cast<int>(found - component_.data());
      require(c < components_, "a scan of an unknown component");
      const int dc = byte(4 + 2 * i) >> 4, ac = byte(4 + 2 * i) & 15;
      require(quantisers_ >> found->quantiser & 1, "a quantisation table is missing");
      require(!direct || !tables || (dc <= 3 && (defined_[0] >> dc & 1)), "a Huffman table is missing");
      require(!alternating || (ac <= 3 && (defined_[1] >> ac & 1)), "a Huffman table is missing");
      require((direct && tables) || (coded_ >> c & 1), "a scan refines what was not yet coded");
      if (direct) coded_ |= 1 << c;
      if (count == 1) units = blocks(width_, found->h, h_max_) * blocks(height_, found->v, v_max_);
    }
    if (count > 1) units = blocks(width_, 1, h_max_) * blocks(height_, 1, v_max_);
    restarts_needed_ = restart_interval_ > 0 ? (units - 1) / restart_interval_ : 0;
  }

  /// Blocks of 8 along an extent of the image, for a component sampled at `factor` of `most`.
  static int64_t blocks(int64_t extent, int factor, int most) { return ((extent * factor + most - 1) / most + 7) / 8; }

  Bytes bytes_;
  const std::string& name_;
  size_t at_ = 0;
  std::array<Component, 4> component_;
  std::array<int, 2> defined_{};  ///< bits: which direct and alternating Huffman tables there are
  int components_ = 0, width_ = 0, height_ = 0, h_max_ = 1, v_max_ = 1, quantisers_ = 0, coded_ = 0, scans_ = 0;
  int64_t restart_interval_ = 0, restarts_ = 0, restarts_needed_ = 0;
  bool progressive_ = false, cmyk_is_marked_ = false;
};

uint32_t crc32(Bytes bytes) {
  static const auto table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int bit = 0; bit < 8; ++bit) t[i] = (t[i] >> 1) ^ (t[i] & 1 ? 0xEDB88320u : 0);
    }
    return t;
  }();
  uint32_t crc = ~0u;
  for (const uint8_t byte : bytes) crc = table[(crc ^ byte) & 255] ^ (crc >> 8);
  return ~crc;
}

uint32_t big_endian(Bytes bytes, size_t at) {
  return uint32_t{bytes[at]} << 24 | uint32_t{bytes[at + 1]} << 16 | uint32_t{bytes[at + 2]} << 8 | bytes[at + 3];
}

}  // namespace

void check_jpeg(Bytes bytes, const std::string& name) { JpegWalk(bytes, name).run(); }

void check_png(Bytes bytes, const std::string& name) {
  size_t at = 8;
  while (true) {
    if (bytes.size() - at < 12) damaged("PNG", name, at, "the file is truncated, its end is missing");
    const size_t length = big_endian(bytes, at);
    if (length > bytes.size() - at - 12) damaged("PNG", name, at, "a chunk is longer than the file");
    if (crc32(bytes.subspan(at + 4, length + 4)) != big_endian(bytes, at + 8 + length))
      damaged("PNG", name, at, "the checksum of a chunk is wrong");
    if (big_endian(bytes, at + 4) == 0x49454E44) return;  // IEND
    at += 12 + length;
  }
}

}  // namespace nibble
