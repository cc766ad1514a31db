#include "core/file.h"

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/glob.h"
#include "third_party/doctest.h"

using namespace nibble;
namespace fs = std::filesystem;

namespace {

/// A folder of its own, removed at the end.
struct Scratch {
  fs::path path = fs::temp_directory_path() / ("nibble-file-test-" + std::to_string(::getpid()));
  Scratch() { fs::create_directories(path); }
  ~Scratch() { fs::remove_all(path); }
  std::string operator/(const char* name) const { return (path / name).string(); }
  size_t files() const { return static_cast<size_t>(std::distance(fs::directory_iterator(path), {})); }
};

/// While one is alive, writing more than `bytes` to a file fails, as on a full disk.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit small{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

}  // namespace

TEST_CASE("file: what was written is read back, and replaces what was there") {
  const Scratch scratch;
  const std::string path = scratch / "a";
  write_file_atomically(path, "first");
  write_file_atomically(path, std::string(100000, 'x'));
  CHECK(read_text_file(path) == std::string(100000, 'x'));
  write_file_atomically(path, "");
  CHECK(read_file(path).empty());
  CHECK(scratch.files() == 1);
}

TEST_CASE("file: a full disk is an error, leaves the old file and no temporary one") {
  const Scratch scratch;
  const std::string path = scratch / "a";
  write_file_atomically(path, "old");
  {
    const SmallDisk small(1000);
    CHECK_THROWS_WITH_AS(write_file_atomically(path, std::string(5000, 'x')),
                         doctest::Contains(("cannot write '" + path + "': File too large").c_str()), Error);
  }
  CHECK(read_text_file(path) == "old");
  CHECK(scratch.files() == 1);
  CHECK_THROWS_WITH_AS(write_file_atomically("/dev/full", "x"), "cannot write '/dev/full': No space left on device",
                       Error);
  CHECK(fs::is_character_file("/dev/full"));
}

TEST_CASE("file: a symbolic link stays one, and what a killed writer left is overwritten") {
  const Scratch scratch;
  write_file_atomically(scratch / "target", "old");
  fs::create_symlink("target", scratch / "link");
  std::ofstream(scratch / "target.tmp") << "half a fi";
  write_file_atomically(scratch / "link", "new");
  CHECK(fs::is_symlink(scratch / "link"));
  CHECK(read_text_file(scratch / "target") == "new");
  CHECK(scratch.files() == 2);
}

TEST_CASE("file: what cannot be read or written is named") {
  const Scratch scratch;
  const std::string folder = scratch.path.string(), missing = scratch / "none", file = scratch / "file";
  write_file_atomically(file, "12345");
  CHECK_THROWS_WITH_AS(read_file(missing), ("cannot open '" + missing + "': No such file or directory").c_str(), Error);
  CHECK_THROWS_WITH_AS(read_file(folder), ("cannot read '" + folder + "': it is a folder").c_str(), Error);
  CHECK_THROWS_AS(read_file("/dev/zero"), Error);
  CHECK_THROWS_WITH_AS(read_file(file, 4), ("cannot read '" + file + "': longer than 4 bytes").c_str(), Error);
  CHECK(read_file(file, 5).size() == 5);
  CHECK_THROWS_WITH_AS(write_file_atomically(folder, "x"), doctest::Contains("it is a folder"), Error);
  CHECK_THROWS_WITH_AS(write_file_atomically(missing + "/x", "x"), doctest::Contains("No such file"), Error);
  CHECK_THROWS_WITH_AS(make_directories(file + "/below"), doctest::Contains("cannot make the folder"), Error);
  CHECK_THROWS_WITH_AS(make_directories(file), doctest::Contains("cannot make the folder"), Error);
  make_directories(scratch / "x/y/z");
  make_directories(scratch / "x/y/z");
  CHECK(fs::is_directory(scratch / "x/y/z"));
}

TEST_CASE("file: a file that does not tell its length is read to its end") {
  CHECK(read_text_file("/proc/self/status").find("VmPeak") != std::string::npos);
}

TEST_CASE("glob: patterns match whole names") {
  CHECK(glob_match("conv0|fc", "fc"));
  CHECK_FALSE(glob_match("conv0|fc", "fc2"));
  CHECK(glob_match("*.bias", "layer1.0.conv1.bias"));
  CHECK_FALSE(glob_match("*.bias", "layer1.0.conv1.bias.x"));
  CHECK(glob_match("*bn?.*", "layer1.0.bn2.weight"));
  CHECK(glob_match("*", ""));
  CHECK(glob_match("a*b*c", "a.b.b.c"));
  CHECK_FALSE(glob_match("a*b*c", "a.c.b"));
  CHECK_FALSE(glob_match("", "a"));
  CHECK(glob_match("|a", ""));
  CHECK_FALSE(glob_match("?", ""));
  CHECK(glob_alternatives("a|b*|") == std::vector<std::string>{"a", "b*", ""});
}

TEST_CASE("glob: many stars take no exponential time") {
  std::string pattern;
  for (int i = 0; i < 50; ++i) pattern += "a*";
  CHECK_FALSE(glob_match(pattern + "b", std::string(5000, 'a')));
}
