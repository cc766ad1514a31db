#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble {

/// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), as in RFC 3720.
uint32_t crc32c(std::string_view bytes);
/// The rotated form that the TFRecord format stores.
uint32_t masked_crc32c(std::string_view bytes);
/// One TFRecord: length, its checksum, the bytes, their checksum; all little-endian.
std::string tfrecord(std::string_view bytes);

using Scalars = std::vector<std::pair<std::string, double>>;
/// An Event message of TensorFlow's event.proto with one simple_value per scalar.
std::string scalar_event(double wall_time, int64_t step, const Scalars& scalars);

/// A TensorBoard event file of scalars.
class EventWriter {
 public:
  /// Makes a new file in the folder. `resumed_at` > 0 tells TensorBoard to forget what earlier files of this folder
  /// say about later steps. Throws Error naming the file.
  EventWriter(const std::string& folder, int64_t resumed_at);
  void add(int64_t step, const Scalars& scalars);

 private:
  void write(const std::string& event);

  std::string path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

}  // namespace nibble
