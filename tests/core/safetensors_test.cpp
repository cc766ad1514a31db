#include "core/safetensors.h"

#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "core/file.h"
#include "third_party/doctest.h"

using namespace nibble;
namespace fs = std::filesystem;

namespace {

struct ScratchFile {
  std::string path =
      (fs::temp_directory_path() / ("nibble-st-" + std::to_string(::getpid()) + ".safetensors")).string();
  ~ScratchFile() { fs::remove(path); }
};

/// A file of a header, a claimed header length (by default the true one) and zero bytes of data.
std::string file_of(const std::string& header, size_t data_bytes, uint64_t claimed = ~uint64_t{0}) {
  const uint64_t length = claimed == ~uint64_t{0} ? header.size() : claimed;
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  return text + header + std::string(data_bytes, '\0');
}

TensorFile parse(const std::string& text) {
  return parse_safetensors(std::as_bytes(std::span(text.data(), text.size())), "x.safetensors");
}

/// The message of the Error that parsing throws, or "" if it does not.
std::string refusal(const std::string& text) {
  try {
    parse(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"w":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

bool says(const std::string& message, const std::string& part) {
  INFO(message);
  return message.find("x.safetensors") != std::string::npos && message.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("safetensors: every type, empty and scalar tensors and metadata survive a round trip, in order") {
  const ScratchFile scratch;
  TensorFile file;
  const int8_t bytes[] = {-128, 0, 127};
  const int64_t longs[] = {std::numeric_limits<int64_t>::min(), 7};
  const uint64_t positions[] = {std::numeric_limits<uint64_t>::max()};
  file.tensors.emplace_back("i8", Tensor::from({3}, std::span<const int8_t>(bytes)));
  file.tensors.emplace_back("conv.weight", Tensor::from({2, 1, 1, 2}, {1.5f, -0.f, 1e-45f, 3e38f}));
  file.tensors.emplace_back("empty", Tensor::zeros({0, 4}));
  file.tensors.emplace_back("scalar", Tensor::full({}, 2.f));
  file.tensors.emplace_back("i64", Tensor::from({2}, std::span<const int64_t>(longs)));
  file.tensors.emplace_back("u64", Tensor::from({1}, std::span<const uint64_t>(positions)));
  for (const DType type : {DType::i32, DType::u8, DType::u32}) {
    file.tensors.emplace_back("zeros " + std::string(name_of(type)), Tensor::zeros({5}, type));
  }
  file.metadata = {{"nibble.graph", "{\"a\": \"\\\" \n\"}"}, {"umlaut", "\u00e4"}, {"", ""}};
  write_safetensors(scratch.path, file);

  const TensorFile back = read_safetensors(scratch.path);
  CHECK(back.metadata == file.metadata);
  REQUIRE(back.tensors.size() == file.tensors.size());
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    const auto& [name, want] = file.tensors[i];
    const Tensor& got = back.tensors[i].second;
    CHECK(back.tensors[i].first == name);
    CHECK(got.dtype() == want.dtype());
    CHECK(got.shape() == want.shape());
    CHECK(std::equal(want.raw(), want.raw() + want.bytes(), got.raw()));
  }
  CHECK(back.find("i64")->data<int64_t>()[1] == 7);
  CHECK(back.find("none") == nullptr);
}

TEST_CASE("safetensors: data begins at a multiple of 64 and every tensor at a multiple of its element") {
  const ScratchFile scratch;
  TensorFile file;
  file.tensors.emplace_back("a", Tensor::zeros({3}, DType::u8));
  file.tensors.emplace_back("b", Tensor::full({1}, 1.f));
  write_safetensors(scratch.path, file);
  const std::string text = read_text_file(scratch.path);
  uint64_t length = 0;
  std::memcpy(&length, text.data(), 8);
  CHECK((8 + length) % 64 == 0);
  CHECK(text.size() == 8 + length + 7);
  CHECK(text.find(R"("a":{"dtype":"U8","shape":[3],"data_offsets":[4,7]})") != std::string::npos);
}

TEST_CASE("safetensors: half, bfloat and double become f32") {
  const std::string header =
      R"({"h":{"dtype":"F16","shape":[6],"data_offsets":[0,12]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},)"
      R"("d":{"dtype":"F64","shape":[1],"data_offsets":[16,24]}})";
  std::string text = file_of(header, 0);
  const uint16_t halves[] = {0x3C00, 0xC000, 0x0001, 0x8000, 0x7C00, 0x7BFF}, brains[] = {0x3F80, 0xC040};
  const double wide = 0.1;
  text.append(reinterpret_cast<const char*>(halves), 12).append(reinterpret_cast<const char*>(brains), 4);
  text.append(reinterpret_cast<const char*>(&wide), 8);
  const TensorFile file = parse(text);
  const auto h = file.find("h")->data<float>();
  CHECK(h[0] == 1.f);
  CHECK(h[1] == -2.f);
  CHECK(h[2] == std::ldexp(1.f, -24));
  CHECK((h[3] == 0.f && std::signbit(h[3])));
  CHECK(std::isinf(h[4]));
  CHECK(h[5] == 65504.f);
  CHECK(file.find("b")->data<float>()[0] == 1.f);
  CHECK(file.find("b")->data<float>()[1] == -3.f);
  CHECK(file.find("d")->data<float>()[0] == 0.1f);
}

TEST_CASE("safetensors: a header that lies about its length is refused") {
  CHECK(says(refusal(""), "only 0 bytes"));
  CHECK(says(refusal("1234567"), "only 7 bytes"));
  CHECK(says(refusal(file_of("{}", 0, 3)), "claims 3 bytes, and 2 follow"));
  for (const uint64_t huge : {uint64_t{1} << 63, (uint64_t{1} << 63) - 1, ~uint64_t{0} - 1, uint64_t{100'000'001}}) {
    CHECK(says(refusal(file_of("{}", 0, huge)), "claims " + std::to_string(huge)));
  }
  CHECK(says(refusal(file_of(std::string(100'000'001, ' '), 0)), "more than the format's 100000000"));
  CHECK(refusal(file_of("{}", 0)) == "");
  CHECK(says(refusal(file_of("{}", 1)), "1 bytes follow the last tensor"));
}

TEST_CASE("safetensors: a header that is not the format's JSON is refused") {
  const auto header = [](const std::string& text) { return refusal(file_of(text, 4)); };
  CHECK(says(header(""), "does not begin with '{'"));
  CHECK(says(header("[]"), "does not begin with '{'"));
  CHECK(says(header("{\"w\""), "is no JSON: error at byte"));
  CHECK(says(header("{}}"), "is no JSON"));
  CHECK(says(header("{\"\xff\":{}}"), "is no JSON"));
  CHECK(says(header(R"({"w":3})"), "tensor 'w' must be an object, got a number"));
  CHECK(says(header(R"({"w":[]})"), "tensor 'w' must be an object, got a list"));
  CHECK(says(header(R"({"w":{}})"), "has no 'dtype'"));
  CHECK(says(header(R"({"w":{"dtype":"F32"}})"), "has no 'shape'"));
  CHECK(says(header(R"({"w":{"dtype":"F32","shape":[1]}})"), "has no 'data_offsets'"));
  CHECK(says(header(R"({"w":{"dtype":"F32","dtype":"F32"}})"), "has 'dtype' twice"));
  CHECK(says(header(R"({"w":{"shape":[1],"shape":[1]}})"), "has 'shape' twice"));
  CHECK(says(header(R"({"w":{"shape":null}})"), "has null in 'shape'"));
  CHECK(says(header(R"({"w":{"shape":{}}})"), "has an object in 'shape'"));
  CHECK(says(header(R"({"w":{"shape":["1"]}})"), "has a string in 'shape'"));
  CHECK(says(header(R"({"w":{"shape":[[1]]}})"), "has a list in 'shape'"));
  CHECK(says(header(R"({"w":{"size":[1]}})"), "has a list in 'size'"));
  CHECK(says(header(one("F31", "[1]", "[0,4]")), "unknown dtype 'F31' (known: F32, "));
  CHECK(says(header(R"({"__metadata__":{"a":1}})"), "must hold strings only, got a number"));
  CHECK(says(header(R"({"__metadata__":{"a":{}}})"), "must hold strings only"));
  CHECK(says(header(R"({"__metadata__":"a"})"), "must hold strings only"));
  CHECK(says(header(R"({"__metadata__":{"a":"1","a":"2"}})"), "has the metadata 'a' twice"));
  CHECK(says(header(R"({"__metadata__":{},"__metadata__":{}})"), "has '__metadata__' twice"));
}

TEST_CASE("safetensors: deep nesting overflows no stack") {
  const std::string brackets(2'000'000, '['), braces = "{\"w\":{\"shape\":" + brackets;
  CHECK(says(refusal(file_of(braces, 0)), "has a list in 'shape'"));
  std::string objects;
  for (int i = 0; i < 300'000; ++i) objects += "{\"a\":";
  CHECK(refusal(file_of(objects, 0)) != "");
}

TEST_CASE("safetensors: impossible shapes are refused") {
  const auto shape = [](const std::string& dims, const std::string& offsets = "[0,4]") {
    return refusal(file_of(one("F32", dims, offsets), 4));
  };
  CHECK(shape("[1]") == "");
  CHECK(shape("[]") == "");
  CHECK(says(shape("[2]"), "has 4 bytes, but F32 [2] takes 8"));
  CHECK(says(shape("[-1]"), "has the negative number -1 in 'shape'"));
  CHECK(says(shape("[1.0]"), "has 1.0 in 'shape'"));
  CHECK(says(shape("[9223372036854775808]"), "impossible extent 9223372036854775808"));
  CHECK(says(shape("[18446744073709551616]"), "no integer below 2^64"));
  CHECK(says(shape("[9223372036854775807]"), "impossible shape"));
  CHECK(says(shape("[4294967296,4294967296]"), "impossible shape"));
  CHECK(says(shape("[4294967296,4294967297,0]", "[0,0]"), "impossible shape"));
  CHECK(says(shape("[4611686018427387905,1]"), "impossible shape"));
  CHECK(says(shape("[1,1,1,1,1,1,1]"), "more than 6 numbers in 'shape'"));
}

TEST_CASE("safetensors: offsets that overlap, leave holes or leave the file are refused") {
  const auto offsets = [](const std::string& range, size_t bytes = 4) {
    return refusal(file_of(one("F32", "[1]", range), bytes));
  };
  CHECK(says(offsets("[0,4]", 3), "ends at byte 4 of the data, which has only 3 bytes"));
  CHECK(says(offsets("[4,0]"), "before it begins"));
  CHECK(says(offsets("[4,8]", 8), "no tensor covers bytes 0 to 4"));
  CHECK(says(offsets("[0,4]", 5), "1 bytes follow the last tensor"));
  CHECK(says(offsets("[0,3]"), "has 3 bytes, but F32 [1] takes 4"));
  CHECK(says(offsets("[0]"), "needs two data_offsets, got 1"));
  CHECK(says(offsets("[0,4,8]"), "needs two data_offsets, got 3"));
  CHECK(says(offsets("[-4,0]"), "negative number -4"));
  CHECK(says(offsets("[18446744073709551612,18446744073709551615]"), "ends at byte 18446744073709551615"));
  CHECK(says(offsets("[9223372036854775808,9223372036854775812]"), "ends at byte 9223372036854775812"));

  const auto two = [](const std::string& a, const std::string& b, size_t bytes) {
    const std::string rest = R"(":{"dtype":"U8","shape":[4],"data_offsets":)";
    return refusal(file_of("{\"a" + rest + a + "},\"b" + rest + b + "}}", bytes));
  };
  CHECK(two("[0,4]", "[4,8]", 8) == "");
  CHECK(two("[4,8]", "[0,4]", 8) == "");
  CHECK(says(two("[0,4]", "[0,4]", 4), "inside the tensor that ends at byte 4"));
  CHECK(says(two("[0,4]", "[2,6]", 6), "tensor 'b' begins at byte 2"));
  CHECK(says(two("[0,4]", "[5,9]", 9), "no tensor covers bytes 4 to 5"));
  const std::string same = R"({"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                           R"("w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})";
  CHECK(says(refusal(file_of(same, 0)), "two tensors named 'w'"));
}

TEST_CASE("safetensors: a file cut off anywhere is refused") {
  const ScratchFile scratch;
  TensorFile file;
  file.tensors.emplace_back("w", Tensor::of({1, 2, 3}));
  write_safetensors(scratch.path, file);
  const std::string text = read_text_file(scratch.path);
  for (size_t size = 0; size < text.size(); ++size) {
    write_file_atomically(scratch.path, std::string_view(text).substr(0, size));
    CHECK_THROWS_WITH_AS(read_safetensors(scratch.path), doctest::Contains(scratch.path.c_str()), Error);
    if (size > 20 && size < text.size() - 14) size += 5;
  }
  fs::remove(scratch.path);
  CHECK_THROWS_WITH_AS(read_safetensors(scratch.path), doctest::Contains("No such file"), Error);
  CHECK_THROWS_WITH_AS(read_safetensors("/tmp"), "cannot read '/tmp': it is no file", Error);
}

TEST_CASE("safetensors: what the format cannot hold is not written") {
  const ScratchFile scratch;
  const auto write = [&](const std::vector<std::pair<std::string, Tensor>>& tensors, const std::string& text = "") {
    write_safetensors(scratch.path, {tensors, {{"text", text}}});
  };
  const Tensor x = Tensor::scalar(1);
  CHECK_THROWS_WITH_AS(write({{"a", x}, {"a", x}}), doctest::Contains("two tensors are named 'a'"), Error);
  CHECK_THROWS_WITH_AS(write({{"a", {}}}), doctest::Contains("'a' is undefined"), Error);
  CHECK_THROWS_WITH_AS(write({{"__metadata__", x}}), doctest::Contains("__metadata__"), Error);
  CHECK_THROWS_WITH_AS(write({{"\xff", x}}), doctest::Contains("no UTF-8"), Error);
  CHECK_THROWS_WITH_AS(write({{"a", x}}, "\xc3"), doctest::Contains("no UTF-8"), Error);
  CHECK_FALSE(fs::exists(scratch.path));
}
