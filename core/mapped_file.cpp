#include "core/mapped_file.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace nibble {

MappedFile::MappedFile(const std::string& path) : file_(path) {
  if (file_.size() == 0) return;
  // Writable, though nobody should write: a tensor that views this memory must not be a trap.
  void* const mapped =
      ::mmap(nullptr, bytes().size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file_.descriptor(), 0);
  NIBBLE_CHECK(mapped != MAP_FAILED, "cannot map '", path, "': ", std::strerror(errno));
  begin_ = static_cast<std::byte*>(mapped);
}

MappedFile::~MappedFile() {
  if (begin_ != nullptr) ::munmap(begin_, bytes().size());
}

void MappedFile::release() const {
  // Best effort: pages that stay are only memory.
  if (begin_ != nullptr) ::madvise(begin_, bytes().size(), MADV_DONTNEED);
}

}  // namespace nibble
