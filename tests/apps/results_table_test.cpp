#include "apps/results_table.h"

#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "tests/apps/scratch.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

constexpr const char* kConfig = R"({"seed": 7, "optim": {"lr": 0.02}, "train": {"epochs": 10, "init": "x"},
  "quant": [{"match": "conv1", "weight": null, "act": null},
            {"match": "*", "weight": {"type": "lsq", "bits": 2}, "act": {"type": "pact", "bits": 4}}]})";
constexpr const char* kResults = R"({"top1": 87.654, "seconds": 90,
  "machine": {"processor": "P", "system": "S", "cores": 2, "threads": 1, "compiler": "C", "commit": "abc"}})";

void write(const std::string& folder, const std::string& name, const std::string& text) {
  make_directories(folder);
  write_file_atomically(folder + "/" + name, text);
}

std::string error_of(const std::string& folder) {
  try {
    results_table(folder);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("results table: rows come from the records, and a bar that was missed is called so") {
  const test::Scratch scratch("results_table");
  const std::string folder = scratch / "runs";
  write(folder, "table.json", R"({"title": "T", "notes": ["a note"], "rows": [
      {"run": "a", "bar": 87.6}, {"run": "b", "bar": 88, "command": "do b", "weights": "affine 8"}]})");
  write(folder + "/a", "config.json", kConfig);
  write(folder + "/a", "results.json", kResults);
  write(folder + "/b", "results.json", R"({"top1": 50})");
  const std::string text = results_table(folder);
  CHECK(has(text, "# T\n"));
  CHECK(has(text, "\na note\n"));
  CHECK(has(text, "| a | lsq 2 | pact 4 | 10 | 0.02 | 87.65 | 87.6 | 1.5 | 7 | abc |\n"));
  CHECK(has(text, "| b | affine 8 | – | 0 | – | 50.00 | 88.0 (missed) | – | – | – |\n"));
  CHECK(has(text, "nibble train " + folder + "/a/config.json --set /train/init=CHECKPOINT --threads 1 --out RUN\n"));
  CHECK(has(text, "do b\n"));
}

TEST_CASE("results table: the pages in the repository are those that their records give") {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(NIBBLE_SOURCE_DIR);
  for (const std::string name : {"cifar10-finetune", "tiny-imagenet"}) {
    CAPTURE(name);
    CHECK(results_table("apps/results/" + name) == read_text_file("apps/results/" + name + ".md"));
  }
  std::filesystem::current_path(before);
}

TEST_CASE("results table: what is missing or wrong is named with its file and place") {
  const test::Scratch scratch("results_table_errors");
  const std::string folder = scratch / "runs";
  CHECK(has(error_of(folder), "table.json"));
  write(folder, "table.json", R"({"title": "T", "notes": [], "rows": [{"run": "a"}]})");
  CHECK(has(error_of(folder), "a/results.json"));
  write(folder + "/a", "results.json", R"({"top1": "high"})");
  CHECK(has(error_of(folder), "/top1"));
  write(folder + "/a", "results.json", "{");
  CHECK(has(error_of(folder), "a/results.json"));
  write(folder + "/a", "results.json", R"({"top1": 1})");
  CHECK(has(error_of(folder), "/command"));
}

}  // namespace nibble
