#include "data/cifar.h"

#include <cstring>

#include "core/file.h"
#include "data/locate.h"
#include "tests/data/fixtures.h"

using namespace nibble;
using namespace nibble::data_test;

namespace {

constexpr size_t kRecord = 3073;

/// `count` records; record r has label (r + shift) % 10 and the byte (r + i) % 251 at place i.
std::vector<uint8_t> records(size_t count, size_t shift = 0) {
  std::vector<uint8_t> bytes;
  for (size_t r = 0; r < count; ++r) {
    bytes.push_back(static_cast<uint8_t>((r + shift) % 10));
    for (size_t i = 0; i < 3072; ++i) bytes.push_back(static_cast<uint8_t>((r + i) % 251));
  }
  return bytes;
}

void write_small_set(const TempFolder& folder) {
  for (size_t i = 1; i <= 5; ++i)
    folder.write("cifar-10-batches-bin/data_batch_" + std::to_string(i) + ".bin", records(3, i));
  folder.write("cifar-10-batches-bin/test_batch.bin", records(4));
}

std::shared_ptr<DataSource> source_at(const std::string& root, const std::string& more = "") {
  return make_source(R"({"type": "cifar10", "root": ")" + root + "\"" + more + "}");
}

}  // namespace

TEST_CASE("cifar: planes become interleaved pixels") {
  const CifarRecords parsed = parse_cifar(records(2), {}, "f");
  REQUIRE(parsed.labels == std::vector<int>{0, 1});
  for (const size_t i : {size_t{0}, size_t{1}, size_t{33}, size_t{1023}})
    for (size_t c = 0; c < 3; ++c) CHECK(parsed.pixels[3072 + i * 3 + c] == (1 + c * 1024 + i) % 251);
}

TEST_CASE("cifar: a truncated file and a flipped label are errors that say where") {
  auto bytes = records(5);
  bytes[3 * kRecord] ^= 0x10;  // 3 -> 19
  CHECK(mentions(error_of([&] { parse_cifar(bytes, {}, "dir/data_batch_1.bin"); }),
                 {"dir/data_batch_1.bin", "record 3", "byte offset 9219", "0 to 9", "found 19"}));
  // Labels beyond the limit are checked all the same.
  CHECK_THROWS_AS(parse_cifar(bytes, {}, "f", 1), Error);
  bytes = records(5);
  bytes.resize(bytes.size() - 100);
  CHECK(mentions(error_of([&] { parse_cifar(bytes, {}, "f.bin"); }),
                 {"f.bin", "multiple of 3073", "15265", "4 records", "truncated"}));
  CHECK(mentions(error_of([&] { parse_cifar({}, {}, "f.bin"); }), {"f.bin", "0 bytes"}));
}

TEST_CASE("cifar: the five training files are joined in order, and limit takes the first images") {
  const TempFolder folder;
  write_small_set(folder);
  const auto source = source_at(folder.path());  // the parent of cifar-10-batches-bin
  const auto train = source->open(Split::train), test = source->open(Split::test);
  CHECK(train->size() == 15);
  CHECK(test->size() == 4);
  CHECK(train->get(0).label == 1);
  CHECK(train->get(14).label == 7);
  CHECK(train->get(14).image.height == 32);
  CHECK(source->classes() == 10);
  CHECK(source->class_names()[3] == "cat");
  CHECK(source->side() == 32);
  const auto limited = source_at(folder.path() + "/cifar-10-batches-bin", R"(, "limit": 4)");
  CHECK(limited->open(Split::train)->size() == 4);
  CHECK(limited->open(Split::train)->get(3).label == 2);
  CHECK(limited->config()["limit"] == 4);
  CHECK(limited->config()["std"][2] == 0.2616);
  CHECK_THROWS_AS(train->get(15), Error);
}

TEST_CASE("cifar: a damaged or missing file is named") {
  const TempFolder folder;
  write_small_set(folder);
  auto bytes = records(3);
  bytes[kRecord] = 200;
  const std::string third = folder.write("cifar-10-batches-bin/data_batch_3.bin", bytes);
  CHECK(mentions(error_of([&] { source_at(folder.path())->open(Split::train); }), {third, "record 1", "found 200"}));
  std::filesystem::remove(third);
  CHECK(mentions(error_of([&] { source_at(folder.path())->open(Split::train); }), {third}));
  CHECK(source_at(folder.path())->open(Split::test)->size() == 4);
}

TEST_CASE("cifar: a file that lost whole records is found out by its full-length neighbours") {
  const TempFolder folder;
  write_small_set(folder);
  folder.write("cifar-10-batches-bin/data_batch_2.bin", {});
  std::filesystem::resize_file(folder.path() + "/cifar-10-batches-bin/data_batch_2.bin", 10000 * kRecord);  // sparse
  CHECK(mentions(error_of([&] { source_at(folder.path())->open(Split::test); }),
                 {"data_batch_1.bin", "expected 10000 records", "found 9219 bytes", "truncated"}));
}

TEST_CASE("cifar: absent data is an error that says where it looked and how to get it") {
  const TempFolder folder;
  const std::string absent = folder.path() + "/nowhere";
  CHECK(mentions(error_of([&] { source_at(absent)->open(Split::train); }),
                 {"cifar10", "data_batch_1.bin", absent, absent + "/cifar-10-batches-bin", "data/get_cifar10.sh"}));
}

TEST_CASE("cifar: a relative root is also looked up under NIBBLE_DATA") {
  const TempFolder folder;
  write_small_set(folder);
  const char* before = std::getenv("NIBBLE_DATA");
  const std::string kept = before ? before : "";
  setenv("NIBBLE_DATA", folder.path().c_str(), 1);
  CHECK(source_at("cifar-10-batches-bin")->open(Split::test)->size() == 4);
  CHECK(source_at("elsewhere/cifar-10-batches-bin/")->open(Split::test)->size() == 4);
  const Location empty{
      .who = "t", .root = "", .subfolder = "cifar-10-batches-bin", .file = "test_batch.bin", .hint = ""};
  CHECK_NOTHROW(locate(empty));
  before ? setenv("NIBBLE_DATA", kept.c_str(), 1) : unsetenv("NIBBLE_DATA");
}

TEST_CASE("cifar100: fine labels by default, coarse ones on request, both checked") {
  std::vector<uint8_t> bytes;
  for (uint8_t r = 0; r < 3; ++r) {
    bytes.push_back(static_cast<uint8_t>(17 + r));
    bytes.push_back(static_cast<uint8_t>(97 + r));
    bytes.insert(bytes.end(), 3072, r);
  }
  const TempFolder folder;
  folder.write("cifar-100-binary/train.bin", bytes);
  const std::string json = R"({"type": "cifar100", "root": ")" + folder.path() + "\"";
  const auto fine = make_source(json + "}"), coarse = make_source(json + R"(, "labels": "coarse"})");
  CHECK(fine->classes() == 100);
  CHECK(fine->class_names().size() == 100);
  CHECK(fine->open(Split::train)->get(2).label == 99);
  CHECK(fine->open(Split::train)->get(2).image.pixels[3071] == 2);
  CHECK(coarse->classes() == 20);
  CHECK(coarse->class_names().size() == 20);
  CHECK(coarse->open(Split::train)->get(0).label == 17);
  bytes[3074] = 20;
  const std::string path = folder.write("cifar-100-binary/train.bin", bytes);
  CHECK(
      mentions(error_of([&] { fine->open(Split::train); }), {path, "record 1", "offset 3074", "0 to 19", "found 20"}));
}

TEST_CASE("cifar: the real CIFAR-10 opens whole, its classes equally frequent") {
  const std::string root = real_data("cifar-10-batches-bin");
  if (root.empty()) return;
  const auto test = source_at(root)->open(Split::test);
  REQUIRE(test->size() == 10000);
  std::vector<int> count(10);
  for (int64_t i = 0; i < test->size(); ++i) ++count[static_cast<size_t>(test->get(i).label)];
  for (const int n : count) CHECK(n == 1000);
}

TEST_CASE("data options: mean and std need three values, std above zero, and counts in range") {
  const auto message = [](const std::string& option) {
    return error_of([&] { make_source(R"({"type": "cifar10", )" + option + "}"); });
  };
  CHECK(mentions(message(R"("mean": [0.5])"), {"mean", "3 values"}));
  CHECK(mentions(message(R"("std": [0.5, 0, 0.5])"), {"/std"}));
  CHECK(mentions(message(R"("batch": 0)"), {"/batch", "0"}));
  CHECK(mentions(message(R"("batch": -128)"), {"/batch", "-128"}));
  CHECK(mentions(message(R"("bach": 128)"), {"unknown key 'bach'", "did you mean 'batch'"}));
  CHECK(mentions(message(R"("root": 3)"), {"/root"}));
  CHECK(mentions(message(R"("augment": "flip")"), {"/augment", "list"}));
}
