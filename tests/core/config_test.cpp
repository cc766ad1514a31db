#include "core/config.h"

#include <filesystem>
#include <fstream>

#include "third_party/doctest.h"

using namespace nibble;

namespace {

struct Inner {
  int depth = 3;
  void fields(Fields& f) { f("depth", depth, "levels", {1, 10}); }
};

struct Sample {
  int bits = 8;
  bool is_signed = false;
  double rate = 0.1;
  float epsilon = 1e-5f;
  std::string name = "a";
  std::string mode = "up";
  std::vector<int> sizes = {1, 2};
  uint64_t seed = 1;
  Inner inner;
  Config extra;
  void fields(Fields& f) {
    f("bits", bits, "code width", {2, 8});
    f("signed", is_signed, "codes below zero");
    f("rate", rate, "learning rate", kPositive);
    f("epsilon", epsilon, "small");
    f("name", name, "what it is called");
    f.choice("mode", mode, {"up", "down"}, "direction");
    f("sizes", sizes, "extents", kPositive);
    f("seed", seed, "of the generator");
    f.nested("inner", inner, "more");
    f.raw("extra", extra, "any value", "kept as it is");
  }
};

std::string error_of(const std::string& text) {
  try {
    read_options<Sample>(parse_config(text, "c.json"));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("config: values are read, defaults kept, and writing gives back what was read") {
  const Config config = parse_config(R"({"bits": 4, "signed": true, "rate": 0.5, "sizes": [3], "inner": {"depth": 7},
                                         "extra": {"type": "x"}, "seed": 18446744073709551615})",
                                     "c.json");
  const auto options = read_options<Sample>(config);
  CHECK(options.bits == 4);
  CHECK(options.is_signed);
  CHECK(options.rate == 0.5);
  CHECK(options.name == "a");
  CHECK(options.inner.depth == 7);
  CHECK(options.seed == ~uint64_t{0});
  CHECK(options.extra.pointer == "/extra");
  const Json written = write_options(options);
  CHECK(write_options(read_options<Sample>(Config(written))) == written);
  CHECK(written["epsilon"].dump() == "1e-05");
}

TEST_CASE("config: an unknown key names its pointer, the accepted keys and a likely spelling") {
  const std::string error = error_of(R"({"inner": {"dept": 2}})");
  CHECK(contains(error, "c.json: at /inner/dept"));
  CHECK(contains(error, "did you mean 'depth'?"));
  CHECK(contains(error_of(R"({"bit": 2})"), "unknown key 'bit', did you mean 'bits'?"));
  CHECK_FALSE(contains(error_of(R"({"zzzzzzzz": 2})"), "did you mean"));
}

TEST_CASE("config: a missing key is pointed out, with the key that may be meant for it") {
  struct Needs {
    int width = 0;
    void fields(Fields& f) { f.required()("width", width, "extent"); }
  };
  CHECK_THROWS_WITH_AS(read_options<Needs>(parse_config("{}", "c.json")), "c.json: at /: the key 'width' is missing",
                       UsageError);
  CHECK_THROWS_WITH_AS(read_options<Needs>(parse_config(R"({"widht": 3})", "c.json")),
                       doctest::Contains("is 'widht' a misspelling of it?"), UsageError);
}

TEST_CASE("config: wrong types and values out of range are refused with what was expected and found") {
  CHECK(contains(error_of(R"({"bits": "4"})"), "at /bits: expected an integer, found the string \"4\""));
  CHECK(contains(error_of(R"({"bits": 4.5})"), "expected an integer"));
  CHECK(contains(error_of(R"({"bits": 9})"), "expected 2 to 8, found 9"));
  CHECK(contains(error_of(R"({"bits": 99999999999999999999})"), "expected an integer"));
  CHECK(contains(error_of(R"({"bits": 9223372036854775808})"), "out of range"));
  CHECK(contains(error_of(R"({"rate": 0})"), "expected above 0, found 0"));
  CHECK(contains(error_of(R"({"rate": -1})"), "expected above 0"));
  CHECK(contains(error_of(R"({"sizes": [2, -1]})"), "at /sizes/1"));
  CHECK(contains(error_of(R"({"sizes": 2})"), "expected a list"));
  CHECK(contains(error_of(R"({"signed": 1})"), "expected true or false"));
  CHECK(contains(error_of(R"({"mode": "dwn"})"), "did you mean \"down\"?"));
  CHECK(contains(error_of(R"({"seed": -1})"), "expected at least 0"));
  CHECK(contains(error_of(R"([1])"), "expected an object"));
}

TEST_CASE("config: a syntax error gives file, line and column") {
  CHECK(contains(error_of("{\n  \"bits\": ,\n}"), "c.json:2:11: this is no JSON"));
  CHECK(contains(error_of(R"({"bits": 2, "bits": 3})"), "'bits' stands twice"));
  CHECK(contains(error_of(std::string(100000, '[')), "nested deeper"));
  CHECK(contains(error_of(""), "this is no JSON"));
}

TEST_CASE("config: extends merges over the base, and an object of another type replaces it") {
  const auto folder = std::filesystem::temp_directory_path() / "nibble_config_test";
  std::filesystem::create_directories(folder / "sub");
  const auto write = [&](const char* name, const char* text) { std::ofstream(folder / name) << text; };
  write("base.json", R"({"a": {"type": "x", "k": 1, "m": 2}, "b": {"type": "y", "k": 1}, "l": [1, 2]})");
  write("sub/top.json", R"({"extends": "../base.json", "a": {"k": 5}, "b": {"type": "z"}, "l": [3]})");
  write("loop.json", R"({"extends": "loop.json"})");
  const Config config = load_config((folder / "sub/top.json").string());
  CHECK(config.json == Json::parse(R"({"a": {"type": "x", "k": 5, "m": 2}, "b": {"type": "z"}, "l": [3]})"));
  CHECK_THROWS_WITH_AS(load_config((folder / "loop.json").string()), doctest::Contains("extends itself"), UsageError);
  CHECK_THROWS_AS(load_config((folder / "absent.json").string()), UsageError);
  std::filesystem::remove_all(folder);
}

TEST_CASE("config: --set changes one value, creates missing keys, and refuses pointers that do not fit") {
  Config config = parse_config(R"({"a": {"b": 1}, "l": [1, 2]})", "c.json");
  set_option(config, "/a/b=2.5");
  set_option(config, "/a/name=resnet");
  set_option(config, "/l/1=7");
  set_option(config, "/new/deep={\"x\": 1}");
  CHECK(config.json == Json::parse(R"({"a": {"b": 2.5, "name": "resnet"}, "l": [1, 7], "new": {"deep": {"x": 1}}})"));
  CHECK_THROWS_AS(set_option(config, "a=1"), UsageError);
  CHECK_THROWS_AS(set_option(config, "/a"), UsageError);
  CHECK_THROWS_AS(set_option(config, "/a/b/c=1"), UsageError);
  CHECK_THROWS_AS(set_option(config, "/l/5000000000=1"), UsageError);
}

TEST_CASE("config: the options list themselves for the reference page") {
  const auto docs = list_options<Sample>();
  REQUIRE(docs.size() == 11);
  CHECK(docs[0].key == "bits");
  CHECK(docs[0].fallback == "8");
  CHECK(docs[0].accepts == "2 to 8");
  CHECK(docs[9].key == "inner.depth");
}
