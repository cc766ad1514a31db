#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "core/error.h"
#include "data/cifar.h"

/// Any bytes give whole records with labels in range, or an Error. The first byte chooses the format and a limit.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const nibble::CifarFormat ten, hundred{.label_bytes = 2, .label_at = data[0] >> 1 & 1, .classes = {20, 100}};
  const nibble::CifarFormat& format = data[0] & 1 ? hundred : ten;
  try {
    const nibble::CifarRecords records = nibble::parse_cifar({data + 1, size - 1}, format, "fuzz", data[0] >> 2);
    if (records.pixels.size() != records.labels.size() * 3072 || records.labels.empty()) std::abort();
    for (const int label : records.labels)
      if (label < 0 || label >= format.classes[static_cast<size_t>(format.label_at)]) std::abort();
  } catch (const nibble::Error&) {
  }
  return 0;
}
