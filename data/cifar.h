#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nibble {

/// The layout of a CIFAR binary record: `label_bytes` bytes, of which byte `label_at` is used, then the red, green and
/// blue planes of a 32x32 image, row-major. https://www.cs.toronto.edu/~kriz/cifar.html
struct CifarFormat {
  int label_bytes = 1;
  int label_at = 0;
  std::array<int, 2> classes = {10, 0};  ///< number of values of each label byte
};

/// Parsed records: pixels (records, 32, 32, 3) interleaved, and their labels.
struct CifarRecords {
  std::vector<uint8_t> pixels;
  std::vector<int> labels;
};

/// Parses a whole file; `name` is for messages. Throws Error unless the length is a positive multiple of the record's
/// and every label byte is in range, naming file, record and byte offset. Reads at most `limit` records (0: all), but
/// checks all labels.
CifarRecords parse_cifar(std::span<const uint8_t> bytes, const CifarFormat& format, const std::string& name,
                         int64_t limit = 0);

}  // namespace nibble
