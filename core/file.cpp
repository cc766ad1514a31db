#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/error.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

/// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  /// False with errno set if the system reports a late write error.
  bool close() {
    const int fd = fd_;
    fd_ = -1;
    return ::close(fd) == 0;
  }

 private:
  int fd_;
};

[[noreturn]] void fail(const char* verb, const std::string& path, int error) {
  throw Error(concat_text("cannot ", verb, " '", path, "': ", std::strerror(error)));
}

/// Removes the temporary file unless it has been renamed away.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  ~TemporaryFile() {
    if (!kept_) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }
  void keep() { kept_ = true; }

 private:
  std::string path_;
  bool kept_ = false;
};

void write_all(int fd, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), std::min(bytes.size(), size_t{1} << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write", path, errno);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void write_parts(int fd, const std::vector<std::span<const std::byte>>& parts, const std::string& path) {
  for (const auto& part : parts) write_all(fd, part, path);
}

/// Makes a rename durable. Some file systems cannot flush a folder; that is no failed write.
void flush_folder(const fs::path& folder) {
  const Descriptor fd(folder.empty() ? "." : folder.string(), O_RDONLY | O_DIRECTORY);
  if (fd.ok()) ::fsync(fd.get());
}

/// Where the bytes really go: renaming over a symbolic link would replace the link.
std::string resolve(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_symlink(path, ignored)) return path;
  const fs::path target = fs::canonical(path, ignored);
  return target.empty() ? path : target.string();
}

}  // namespace

std::vector<std::byte> read_file(const std::string& path, size_t limit) {
  const Descriptor file(path, O_RDONLY);
  if (!file.ok()) fail("open", path, errno);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail("read", path, errno);
  NIBBLE_CHECK(!S_ISDIR(info.st_mode), "cannot read '", path, "': it is a folder");
  // A device may never end.
  NIBBLE_CHECK(S_ISREG(info.st_mode) || S_ISFIFO(info.st_mode), "cannot read '", path, "': it is no file");
  const auto too_long = [&] { return concat_text("cannot read '", path, "': longer than ", limit, " bytes"); };
  const auto expected = static_cast<size_t>(std::max<off_t>(info.st_size, 0));
  NIBBLE_CHECK(expected <= limit, too_long());

  std::vector<std::byte> bytes(expected);
  size_t used = 0;
  while (true) {
    // A pipe does not tell its length, and one more byte tells whether a file has grown.
    std::byte more[4096];
    const bool full = used == bytes.size();
    const ssize_t n = full ? ::read(file.get(), more, sizeof more)
                           : ::read(file.get(), bytes.data() + used, std::min(bytes.size() - used, size_t{1} << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("read", path, errno);
    if (n == 0) break;
    used += static_cast<size_t>(n);
    NIBBLE_CHECK(used <= limit, too_long());
    if (full) bytes.insert(bytes.end(), more, more + n);
  }
  bytes.resize(used);
  return bytes;
}

std::string read_text_file(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void write_file_atomically(const std::string& path, const std::vector<std::span<const std::byte>>& parts) {
  const std::string target = resolve(path);
  struct stat info {};
  const bool exists = ::stat(target.c_str(), &info) == 0;
  NIBBLE_CHECK(!exists || !S_ISDIR(info.st_mode), "cannot write '", path, "': it is a folder");
  if (exists && !S_ISREG(info.st_mode)) {  // a pipe or device is written, not replaced
    Descriptor device(target, O_WRONLY);
    if (!device.ok()) fail("write", path, errno);
    write_parts(device.get(), parts, path);
    if (!device.close()) fail("write", path, errno);
    return;
  }

  // Always the same name, so that what a killed process leaves behind is overwritten by the next one.
  TemporaryFile temporary(target + ".tmp");
  Descriptor file(temporary.path(), O_WRONLY | O_CREAT | O_TRUNC);
  if (!file.ok()) {
    temporary.keep();
    fail("write", path, errno);
  }
  if (exists) {
    // Best effort: another owner's file keeps our default permissions.
    [[maybe_unused]] const int denied = ::fchmod(file.get(), info.st_mode & 07777);
  }
  write_parts(file.get(), parts, path);
  if (::fsync(file.get()) != 0) fail("write", path, errno);
  if (!file.close()) fail("write", path, errno);
  if (::rename(temporary.path().c_str(), target.c_str()) != 0) fail("write", path, errno);
  temporary.keep();
  flush_folder(fs::path(target).parent_path());
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, std::vector{bytes});
}

void write_file_atomically(const std::string& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text.data(), text.size())));
}

void make_directories(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  NIBBLE_CHECK(!error, "cannot make the folder '", path, "': ", error.message());
}

}  // namespace nibble
