#include "apps/run_config.h"

#include <filesystem>
#include <set>

#include "apps/run_parts.h"
#include "core/file.h"
#include "tests/apps/scratch.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

Config small() {
  return parse_config(R"({"name": "small", "model": {"type": "small_resnet", "width": 2},
                          "data": {"type": "embedded"}, "optim": {"type": "sgd", "lr": 0.1},
                          "train": {"ema": {"decay": 0.9}}})",
                      "small.json");
}

std::string error_of(const Config& config) {
  try {
    const RunConfig run = read_run_config(config);
    attach_optimizer(build_parts(run), run);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

bool mentions(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    if (text.find(part) == std::string::npos) {
      MESSAGE("'", text, "' lacks '", part, "'");
      return false;
    }
  return true;
}

}  // namespace

TEST_CASE("run config: the resolved config builds the same run again") {
  const RunConfig config = read_run_config(small());
  const Json resolved = resolved_config(config, build_parts(config));
  CHECK(resolved["model"]["blocks"] == 1);
  CHECK(resolved["optim"].contains("momentum"));
  CHECK(resolved["train"]["ema"].contains("warmup"));
  const RunConfig again = read_run_config(Config(resolved, "config.json"));
  CHECK(resolved_config(again, build_parts(again)) == resolved);
}

TEST_CASE("run config: the name defaults to that of the file") {
  Config config = small();
  config.json.erase("name");
  config.file = "some/where/tiny.json";
  CHECK(read_run_config(config).name == "tiny");
  config.json["name"] = "../escape";
  CHECK(mentions(error_of(config), {"/name", "../escape"}));
}

TEST_CASE("run config: errors name file, pointer and what was meant") {
  const auto with = [](const std::string& assignment) {
    Config config = small();
    set_option(config, assignment);
    return error_of(config);
  };
  CHECK(mentions(with("/trian={}"), {"small.json", "/trian", "did you mean 'train'?"}));
  CHECK(mentions(with("/train/epoch=3"), {"/train/epoch", "did you mean 'epochs'?"}));
  CHECK(mentions(with("/train/epochs=-3"), {"/train/epochs", "-3"}));
  CHECK(mentions(with("/train/epochs=many"), {"/train/epochs", "many"}));
  CHECK(mentions(with("/model/type=small_resnett"), {"/model/type", "did you mean 'small_resnet'?"}));
  CHECK(mentions(with("/model/width=-1"), {"/model/width", "-1"}));
  CHECK(mentions(with("/optim/momentun=0.9"), {"/optim/momentun", "did you mean 'momentum'?"}));
  CHECK(mentions(with("/train/ema/decai=0.9"), {"/train/ema/decai", "did you mean 'decay'?"}));
  CHECK(mentions(with("/optim/no_decay=[\"zzz\"]"), {"small.json", "/optim/no_decay/0", "zzz"}));
  CHECK(mentions(with("/data/batch=0"), {"/data/batch"}));
  CHECK(mentions(with("/model/classes=7"), {"10 classes", "[1,7]"}));
  CHECK(mentions(with("/model/input=[16,16,3]"), {"32x32", "[16,16,3]"}));
}

TEST_CASE("run config: only options that can change a result keep a run from being resumed") {
  const RunConfig config = read_run_config(small());
  const Json ours = resolved_config(config, build_parts(config));
  Json theirs = ours;
  theirs["name"] = "other";
  theirs["train"]["threads"] = 3;
  theirs["data"]["workers"] = 0;
  CHECK(differing_options(ours, theirs).empty());
  theirs["optim"]["lr"] = 0.2;
  theirs["seed"] = 5;
  const auto differing = differing_options(ours, theirs);
  REQUIRE(differing.size() == 2);
  CHECK(mentions(differing[0], {"/seed", "5"}));
  CHECK(mentions(differing[1], {"/optim/lr", "0.1", "0.2"}));
}

TEST_CASE("run config: a run recorded before an option existed can be resumed where the default is kept") {
  const RunConfig config = read_run_config(small());
  const Json ours = resolved_config(config, build_parts(config));
  Json old = ours;
  old["loss"].erase("auxiliary");
  old["optim"].erase("nesterov");
  CHECK(!differing_options(ours, old).empty());
  CHECK(differing_options(ours, with_defaults(old, ours, "old")).empty());
  Json other = ours;
  other["loss"]["auxiliary"] = 0.3;
  const auto differing = differing_options(other, with_defaults(old, ours, "old"));
  REQUIRE(differing.size() == 1);
  CHECK(mentions(differing[0], {"/loss/auxiliary", "0.3", "0.4"}));
  old["model"] = "nonsense";
  CHECK(with_defaults(old, ours, "old") == old);
}

TEST_CASE("run config: every config in the repository builds") {
  int count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(NIBBLE_SOURCE_DIR "/apps/configs")) {
    if (entry.path().extension() != ".json") continue;
    // Those of the papers' tables are built in tests/apps/paper_configs_test.cpp, with few channels.
    const auto folder = *std::filesystem::relative(entry.path(), NIBBLE_SOURCE_DIR "/apps/configs").begin();
    if (std::set<std::string>{"baselines", "elq", "integer-only", "lq-nets", "lsq"}.contains(folder)) continue;
    CAPTURE(entry.path().string());
    const RunConfig config = load_run_config(entry.path().string(), {});
    CHECK(config.name == entry.path().stem().string());
    // Networks much larger than the others only cost time here.
    if (config.model.type() == "resnet110" || config.model.type() == "vgg_small") continue;
    // The classes of a folder of images are known where the images are; tests/apps/init_test.cpp builds these networks.
    if (config.data.type() == "folder") continue;
    const RunParts parts = build_parts(config);
    attach_optimizer(parts, config);
    ++count;
  }
  CHECK(count >= 20);
}

}  // namespace nibble
