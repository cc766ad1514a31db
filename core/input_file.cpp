#include "core/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace nibble {

InputFile::InputFile(const std::string& path) : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  NIBBLE_CHECK(fd_ >= 0, "cannot open '", path_, "': ", std::strerror(errno));
  struct stat info {};
  const bool regular = ::fstat(fd_, &info) == 0 && S_ISREG(info.st_mode);
  if (!regular) ::close(fd_);
  NIBBLE_CHECK(regular, "cannot read '", path_, "': it is no file");
  size_ = static_cast<uint64_t>(info.st_size);
}

InputFile::~InputFile() { ::close(fd_); }

void InputFile::read(uint64_t position, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), std::min(out.size(), size_t{1} << 30), static_cast<off_t>(position));
    if (n < 0 && errno == EINTR) continue;
    NIBBLE_CHECK(n >= 0, "cannot read '", path_, "': ", std::strerror(errno));
    NIBBLE_CHECK(n > 0, "'", path_, "' was shortened while it was read");
    out = out.subspan(static_cast<size_t>(n));
    position += static_cast<uint64_t>(n);
  }
}

void InputFile::check_length() const {
  struct stat info {};
  const bool known = ::fstat(fd_, &info) == 0;
  NIBBLE_CHECK(known && static_cast<uint64_t>(info.st_size) >= size_, "'", path_, "' was shortened while it was read");
}

}  // namespace nibble
