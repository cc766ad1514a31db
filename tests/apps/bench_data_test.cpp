#include "apps/bench_data.h"

#include <filesystem>
#include <fstream>

#include "apps/run_config.h"
#include "apps/run_parts.h"
#include "core/file.h"
#include "tests/apps/outcome.h"
#include "tests/apps/scratch.h"
#include "tests/data/golden.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

using test::Outcome;
using test::run;

void write_image(const std::string& path, const std::vector<uint8_t>& bytes) {
  make_directories(fs::path(path).parent_path().string());
  write_file_atomically(path, std::as_bytes(std::span(bytes)));
}

/// Two classes with `count` small pictures each in the splits named.
void write_tree(const std::string& root, const std::vector<std::string>& splits, int count) {
  for (const std::string& split : splits)
    for (int i = 0; i < 2 * count; ++i)
      write_image(concat_text(root, "/", split, "/n0", i % 2, "/", i / 2, ".JPEG"),
                  i % 3 == 0 ? golden::jpeg_grey : golden::jpeg_rgb);
}

std::string config_text(const std::string& root) {
  return Json{{"name", "tree"},
              {"model", {{"type", "small_resnet"}, {"width", 2}, {"classes", 2}}},
              {"data",
               {{"type", "folder"},
                {"root", root},
                {"batch", 4},
                {"augment", {{{"type", "random_resized_crop"}, {"size", 32}}, "color_jitter", "lighting", "flip"}},
                {"transform", {{{"type", "resize"}, {"size", 32}, {"keep_aspect", false}}}},
                {"skip_unreadable", 1}}},
              {"optim", {{"type", "sgd"}, {"lr", 0.01}}},
              {"train", {{"epochs", 2}}}}
      .dump();
}

}  // namespace

TEST_CASE("bench data: times reading and preparing the images of a folder or a config") {
  const test::Scratch folder("bench-data");
  const std::string tree = folder / "tree", config = folder / "c.json";
  write_tree(tree, {"val"}, 3);
  const Outcome of_folder = run({"bench", "data", tree, "--steps", "8", "--json"});
  CAPTURE(of_folder.err);
  REQUIRE(of_folder.code == 0);
  const Json json = Json::parse(of_folder.out);
  CHECK(json["samples"] == 6);
  CHECK(json["images"] == 8);
  CHECK(json["pixels"] == doctest::Approx(16 * 12));
  REQUIRE(json["rows"].size() == 2);
  for (const Json& row : json["rows"]) {
    const double total = row["read_seconds"].get<double>() + row["transform_seconds"].get<double>();
    CHECK(total > 0);
    CHECK(row["images_per_second"].get<double>() > 0);
  }
  CHECK(json["loader"]["images_per_second"].get<double>() > 0);

  write_tree(tree, {"train"}, 5);
  write_file_atomically(config, config_text(tree));
  const Outcome of_config = run({"bench", "data", config, "--steps", "4", "--set", "/data/workers=1"});
  CAPTURE(of_config.err);
  REQUIRE(of_config.code == 0);
  for (const char* part : {"10 images listed", "augment", "transform", "loader with 1 workers", "peak memory"})
    CHECK(of_config.out.find(part) != std::string::npos);
  const Outcome nothing = run({"bench", "data"});
  CHECK(nothing.code == 2);
  CHECK(nothing.says("a config or a folder"));
}

TEST_CASE("train: a damaged image is named and left out, one more ends the run, the lists lie beside the run") {
  const test::Scratch folder("train-tree");
  const std::string tree = folder / "tree", config = folder / "c.json", lists = folder / ".image-lists";
  write_tree(tree, {"train", "val"}, 6);
  write_file_atomically(config, config_text(tree));
  write_image(tree + "/train/n00/2.JPEG", {'b', 'a', 'd'});
  const auto then = fs::file_time_type::clock::now() - std::chrono::hours(1);
  for (const auto& entry : fs::recursive_directory_iterator(tree)) fs::last_write_time(entry.path(), then);

  const Outcome first = run({"train", config, "--out", folder / "first"});
  CAPTURE(first.err);
  CHECK(first.code == 0);
  CHECK(first.says("left out " + tree + "/train/n00/2.JPEG"));
  CHECK(first.says("1 of at most 1"));
  REQUIRE(fs::exists(lists));
  std::string train_list;
  for (const auto& entry : fs::directory_iterator(lists))
    if (entry.path().filename().string().starts_with("train-")) train_list = entry.path().string();
  REQUIRE(!train_list.empty());

  write_file_atomically(train_list, "damaged");
  const Outcome second = run({"train", config, "--out", folder / "second"});
  CHECK(second.code == 0);
  CHECK(second.says(train_list + "' is damaged"));

  write_image(tree + "/train/n01/0.JPEG", {});
  write_image(tree + "/train/n01/1.JPEG", {});
  const Outcome third = run({"train", config, "--out", folder / "third"});
  CHECK(third.code == 1);
  CHECK(third.says("'skip_unreadable' allows (1)"));

  write_image(tree + "/val/n01/1.JPEG", {});
  const Outcome eval = run({"eval", folder / "first"});
  CAPTURE(eval.err);
  CHECK(eval.code == 0);
  CHECK(eval.says("left out " + tree + "/val/n01/1.JPEG"));
  CHECK(eval.out.find("of 11)") != std::string::npos);
}

TEST_CASE("configs: those for Tiny-ImageNet build their networks, the images need not be there") {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(NIBBLE_SOURCE_DIR "/apps/configs/tiny-imagenet")) {
    if (entry.path().extension() != ".json") continue;
    CAPTURE(entry.path().string());
    std::vector<std::string> narrow = {"/data/root=/nowhere"};
    const bool mobile = entry.path().stem().string().starts_with("mobilenet");
    if (!mobile) narrow.push_back("/model/width=8");
    const RunConfig config = load_run_config(entry.path().string(), narrow);
    const RunParts parts = build_parts(config);
    attach_optimizer(parts, config);
    CHECK(parts.graph.input_shape() == Shape{64, 64, 3});
    ++count;
  }
  CHECK(count == 4);
}

}  // namespace nibble
