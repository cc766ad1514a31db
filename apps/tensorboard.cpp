#include "apps/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/error.h"

namespace nibble {
namespace {

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) ? 0x82f63b78u : 0u);
    table[i] = value;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = make_crc_table();

void put_fixed(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

// The wire format of protocol buffers: a key of field number and wire type, then the value.
enum Wire : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  out += static_cast<char>(value);
}

void put_key(std::string& out, uint64_t field, Wire wire) { put_varint(out, field << 3 | wire); }

void put_bytes(std::string& out, uint64_t field, std::string_view bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string event_head(double wall_time, int64_t step) {
  std::string event;
  put_key(event, 1, kFixed64);
  put_fixed(event, std::bit_cast<uint64_t>(wall_time), 8);
  put_key(event, 2, kVarint);
  put_varint(event, static_cast<uint64_t>(step));
  return event;
}

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8u; }

std::string tfrecord(std::string_view bytes) {
  std::string out;
  put_fixed(out, bytes.size(), 8);
  put_fixed(out, masked_crc32c(out), 4);
  out += bytes;
  put_fixed(out, masked_crc32c(bytes), 4);
  return out;
}

std::string scalar_event(double wall_time, int64_t step, const Scalars& scalars) {
  std::string summary;
  for (const auto& [tag, number] : scalars) {
    std::string value;
    put_bytes(value, 1, tag);
    put_key(value, 2, kFixed32);
    put_fixed(value, std::bit_cast<uint32_t>(static_cast<float>(number)), 4);
    put_bytes(summary, 1, value);
  }
  std::string event = event_head(wall_time, step);
  put_bytes(event, 5, summary);
  return event;
}

EventWriter::EventWriter(const std::string& folder, int64_t resumed_at) : file_(nullptr, std::fclose) {
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  // Names sort by time; the process id keeps two runs of the same second apart.
  path_ = concat_text(folder, "/events.out.tfevents.", static_cast<int64_t>(now()), ".", host, ".", getpid());
  file_.reset(std::fopen(path_.c_str(), "wb"));
  NIBBLE_CHECK(file_ != nullptr, "tensorboard: cannot write ", path_, ": ", std::strerror(errno));
  std::string version = event_head(now(), 0);
  put_bytes(version, 3, "brain.Event:2");
  write(version);
  if (resumed_at > 0) {
    // SessionLog{status: START}: TensorBoard drops the orphaned points of later steps.
    std::string start;
    put_key(start, 1, kVarint);
    put_varint(start, 1);
    std::string event = event_head(now(), resumed_at);
    put_bytes(event, 7, start);
    write(event);
  }
}

void EventWriter::add(int64_t step, const Scalars& scalars) { write(scalar_event(now(), step, scalars)); }

void EventWriter::write(const std::string& event) {
  const std::string record = tfrecord(event);
  const bool written =
      std::fwrite(record.data(), 1, record.size(), file_.get()) == record.size() && std::fflush(file_.get()) == 0;
  NIBBLE_CHECK(written, "tensorboard: cannot write ", path_, ": ", std::strerror(errno));
}

}  // namespace nibble
