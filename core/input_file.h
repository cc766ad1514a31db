#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace nibble {

/// A regular file that is open to be read; stays the same file when another takes its name.
class InputFile {
 public:
  /// Throws Error naming the file if it cannot be opened or is none (a folder, a device).
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  /// Bytes, when it was opened.
  uint64_t size() const { return size_; }
  int descriptor() const { return fd_; }
  /// Fills `out` with the bytes from `position` on. Throws Error naming the file if they cannot be read, also because
  /// it was shortened.
  void read(uint64_t position, std::span<std::byte> out) const;
  /// Throws Error naming the file if it has been shortened since it was opened.
  void check_length() const;

 private:
  std::string path_;
  int fd_;
  uint64_t size_ = 0;
};

}  // namespace nibble
