#pragma once

#include "core/input_file.h"

namespace nibble {

/// A file as memory: its bytes are fetched when they are first looked at and take no memory of the process before.
/// The file is never changed: what is written to bytes() stays in this process. A file that another one replaces by
/// name (write_file_atomically) is mapped on undisturbed; one that is shortened in place loses its last pages, and
/// looking at those ends the process with a bus error. So look early, call check_length() before, and copy what is
/// needed for long.
class MappedFile {
 public:
  /// Throws Error naming the file if it cannot be opened, is none, or the system refuses to map it.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const InputFile& file() const { return file_; }
  std::span<std::byte> bytes() const { return {begin_, static_cast<size_t>(file_.size())}; }
  /// Gives the memory of all pages back; the next look fetches them anew. What was written to bytes() is lost.
  void release() const;

 private:
  InputFile file_;
  std::byte* begin_ = nullptr;
};

}  // namespace nibble
