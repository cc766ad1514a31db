#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

/// The whole file; throws Error naming it. `limit` bytes at most.
std::vector<std::byte> read_file(const std::string& path, size_t limit = size_t{1} << 40);
std::string read_text_file(const std::string& path);
/// Replaces a file atomically: temporary file in the same folder, flush to disk, rename, flush the folder. Throws Error
/// naming the file (unwritable folder, full disk); the old file then stays as it was and no temporary file is left. A
/// pipe or device is written in place.
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::string& path, std::string_view text);
/// The parts one after the other.
void write_file_atomically(const std::string& path, const std::vector<std::span<const std::byte>>& parts);
/// Makes the folder and its parents; throws Error naming it.
void make_directories(const std::string& path);

}  // namespace nibble
