#include "core/mapped_file.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "tests/apps/scratch.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

bool lies_in(const Tensor& tensor, const MappedFile& file) {
  const std::byte* const begin = file.bytes().data();
  return tensor.raw() >= begin && tensor.raw() < begin + file.bytes().size();
}

}  // namespace

TEST_CASE("mapped file: shows the file, and keeps what is written to it to itself") {
  const Scratch folder("mapped");
  const std::string path = folder / "x", long_text(10000, 'a');
  write_file_atomically(path, long_text);
  const MappedFile file(path);
  CHECK(file.file().size() == 10000);
  CHECK(text_of(file) == long_text);
  file.bytes()[5000] = std::byte{'b'};
  CHECK(text_of(file) != long_text);
  CHECK(read_text_file(path) == long_text);
  file.release();
  CHECK(text_of(file) == long_text);
}

TEST_CASE("mapped file: a file that takes its name does not disturb it, shortening is noticed") {
  const Scratch folder("mapped");
  const std::string path = folder / "x", old_text(20000, 'a');
  write_file_atomically(path, old_text);
  const MappedFile file(path);
  write_file_atomically(path, std::string_view("new"));
  file.release();
  CHECK(text_of(file) == old_text);
  CHECK_NOTHROW(file.file().check_length());

  const MappedFile other(path);
  REQUIRE(::truncate(path.c_str(), 1) == 0);
  CHECK(mentions(message_of([&] { other.file().check_length(); }), {path, "shortened"}));
  std::byte bytes[3];
  CHECK(mentions(message_of([&] { other.file().read(0, bytes); }), {path, "shortened"}));
}

TEST_CASE("mapped file: what cannot be mapped is an error that names it") {
  const Scratch folder("mapped");
  CHECK(mentions(message_of([] { MappedFile("/nowhere/x"); }), {"/nowhere/x", "No such file"}));
  CHECK(mentions(message_of([] { MappedFile("/tmp"); }), {"/tmp", "no file"}));
  write_file_atomically(folder / "empty", std::string_view());
  const MappedFile empty(folder / "empty");
  CHECK(empty.bytes().empty());
  CHECK_NOTHROW(empty.release());
}

TEST_CASE("map_safetensors: large tensors view the file, and all are what reading gives") {
  const Scratch folder("mapped");
  const std::string path = folder / "x.safetensors";
  TensorFile file;
  file.metadata["a"] = "b";
  file.tensors.emplace_back("small", random_tensor({7}, 1));
  file.tensors.emplace_back("large", random_tensor({50, 60}, 2));
  file.tensors.emplace_back("codes", Tensor::zeros({5001}, DType::u8));
  file.tensors.back().second.mutable_data<uint8_t>()[5000] = 77;
  write_safetensors(path, file);
  const TensorFile read = read_safetensors(path), mapped = map_safetensors(path);
  REQUIRE(mapped.mapping != nullptr);
  CHECK(read.mapping == nullptr);
  CHECK(mapped.metadata == read.metadata);
  for (const auto& entry : read.tensors) {
    const std::string& name = entry.first;
    const Tensor& tensor = entry.second;
    CAPTURE(name);
    const Tensor* other = mapped.find(name);
    REQUIRE(other != nullptr);
    CHECK(other->shape() == tensor.shape());
    CHECK(other->dtype() == tensor.dtype());
    CHECK(std::equal(tensor.raw(), tensor.raw() + tensor.bytes(), other->raw()));
    CHECK(lies_in(*other, *mapped.mapping) == (tensor.bytes() >= 4096));
  }
}

TEST_CASE("map_safetensors: elements that do not lie as their type must are copied") {
  const Scratch folder("mapped");
  const std::string path = folder / "x.safetensors";
  const std::string header = R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("w":{"dtype":"F32","shape":[2000],"data_offsets":[1,8001]}})";
  const uint64_t length = header.size();
  std::string text(reinterpret_cast<const char*>(&length), 8);
  write_file_atomically(path, text + header + std::string(8001, '\0'));
  const TensorFile mapped = map_safetensors(path);
  CHECK((8 + header.size() + 1) % 4 != 0);
  CHECK_FALSE(lies_in(*mapped.find("w"), *mapped.mapping));
}
