#include <filesystem>

#include "apps/run_parts.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "layers/model.h"
#include "quant/policy.h"
#include "tests/apps/outcome.h"
#include "tests/apps/scratch.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

using test::Outcome;
using test::run;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void check_fails(const Outcome& outcome, const std::string& part) {
  CAPTURE(outcome.err);
  CHECK(outcome.code == 2);
  CHECK(has(outcome.err, part));
  CHECK(outcome.err.find('\n') == outcome.err.size() - 1);
}

constexpr const char* kMobile = R"({
  "model": {"type": "mobilenet_v1", "multiplier": 0.25, "classes": 10, "input": [32, 32, 3]},
  "quant": [{"match": "*", "place": "outputs", "weight": {"type": "affine"}, "act": {"type": "affine"},
             "fold_batch_norm": {}}]
})";

}  // namespace

TEST_CASE("init: an untrained network is quantized on noise, lowered and timed without any data") {
  const test::Scratch folder("init");
  const std::string config = folder / "mobile.json", real = folder / "f.safetensors", q8 = folder / "q.safetensors";
  const std::string model = folder / "m.nib";
  write_file_atomically(config, kMobile);
  const Outcome made = run({"init", config, "-o", real, "--json"});
  CAPTURE(made.err);
  REQUIRE(made.code == 0);
  CHECK(made.json()["parameters"] == 470'072 - 990 * 257);
  CHECK(made.json()["seed"] == 1);

  const std::string rules = folder / "rules.json";
  write_file_atomically(rules, Json{{"quant", Json::parse(kMobile)["quant"]}}.dump());
  const Outcome quantized = run({"quantize", real, "--config", rules, "--noise", "11", "-o", q8, "--json"});
  CAPTURE(quantized.err);
  REQUIRE(quantized.code == 0);
  CHECK(quantized.json()["noise"] == 11);
  CHECK(quantized.json()["float_layers"].empty());
  CHECK(has(run({"quantize", real, "--config", rules, "--noise", "2", "-o", q8}).out, "of no use on images"));

  const Outcome lowered = run({"lower", q8, "-o", model, "--json"});
  CAPTURE(lowered.err);
  REQUIRE(lowered.code == 0);
  CHECK(lowered.json()["counts"].contains("float") == false);
  const Outcome timed = run({"bench", model, "--steps", "2", "--json"});
  CAPTURE(timed.err);
  REQUIRE(timed.code == 0);
  CHECK(timed.json()["images_per_second"].get<double>() > 0);
}

TEST_CASE("init: the weights are those with which training begins, and follow the seed") {
  const test::Scratch folder("init-seed");
  const std::string config = folder / "c.json", a = folder / "a", b = folder / "b", c = folder / "c";
  write_file_atomically(config, R"({"name": "tiny", "seed": 3, "model": {"type": "small_resnet", "width": 2},
    "data": {"type": "embedded", "train": 64, "test": 20, "batch": 32}, "optim": {"type": "sgd", "lr": 1e-30},
    "train": {"epochs": 1}})");
  REQUIRE(run({"init", config, "-o", a}).code == 0);
  REQUIRE(run({"init", config, "-o", b, "--set", "/seed=4"}).code == 0);
  REQUIRE(run({"train", config, "--out", c}).code == 0);
  const auto weight = [](const std::string& path) {
    const Tensor w = read_safetensors(path).find("layer2.0.conv1.weight")->clone();
    return std::vector<float>(w.data<float>().begin(), w.data<float>().end());
  };
  CHECK(weight(a) == weight(c + "/last.safetensors"));
  CHECK(weight(a) != weight(b));
  // It knows its images, and a training takes it as a start.
  CHECK(run({"eval", a, "--json"}).json()["total"] == 20);
  CHECK(run({"train", config, "--set", "/train/init=" + b, "--out", folder / "d"}).code == 0);
}

TEST_CASE("init: bad input is one clear error") {
  const test::Scratch folder("init-bad");
  const std::string config = folder / "c.json", out = folder / "out";
  write_file_atomically(config, kMobile);
  check_fails(run({"init", config}), "--out");
  check_fails(run({"init", folder / "none.json", "-o", out}), "none.json");
  check_fails(run({"init", config, "-o", out, "--set", "/model/type=mobilenet_v9"}), "did you mean 'mobilenet_v1'");
  check_fails(run({"init", config, "-o", out, "--set", "/sed=1"}), "sed");
  check_fails(run({"init", config, "-o", out, "--set", R"(/data={"type": "folder", "root": ""})"}), "root");
  write_file_atomically(config, R"({"name": "x"})");
  check_fails(run({"init", config, "-o", out}), "model");
  CHECK_FALSE(std::filesystem::exists(out));
  write_file_atomically(config, kMobile);
  REQUIRE(run({"init", config, "-o", out}).code == 0);
  const auto quantize = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args{"quantize", out, "--config", config, "-o", folder / "q"};
    args.insert(args.end(), more.begin(), more.end());
    return run(args);
  };
  write_file_atomically(config, Json{{"quant", Json::parse(kMobile)["quant"]}}.dump());
  check_fails(quantize({}), "--data");
  check_fails(quantize({"--noise", "0"}), "--noise");
  check_fails(quantize({"--noise", "4", "--calibrate", "4"}), "--calibrate");
  check_fails(quantize({"--noise", "4", "--data", "x"}), "--data");
}

TEST_CASE("configs: those for ImageNet quantize their networks wholly") {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(NIBBLE_SOURCE_DIR "/apps/configs/imagenet")) {
    CAPTURE(entry.path().string());
    const RunConfig config = load_run_config(entry.path().string(), {});
    const Graph graph = quantize(build_model(config.model), config.quant);
    CHECK(output_shape(graph, config.model) == Shape{1, 1000});
    CHECK(build_source(config.data)->options().augment.json.size() > 0);
    ++count;
  }
  CHECK(count >= 2);
}

}  // namespace nibble
