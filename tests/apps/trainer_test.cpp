#include "apps/trainer.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "apps/trained_model.h"
#include "core/file.h"
#include "core/parallel.h"
#include "tests/apps/scratch.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

/// Three epochs of five steps, with everything that has state: momentum, batch norm, dropout, averages.
Config tiny(const std::vector<std::string>& assignments = {}) {
  Config config = parse_config(R"({
    "name": "tiny",
    "model": {"type": "graph", "nodes": [
      {"name": "conv", "type": "conv2d", "in": 3, "out": 4, "kernel": 3, "stride": 4, "pad": 1, "bias": false},
      {"name": "bn", "type": "batch_norm", "channels": 4},
      {"name": "relu", "type": "relu"},
      {"name": "pool", "type": "global_avg_pool"},
      {"name": "drop", "type": "dropout", "p": 0.2},
      {"name": "fc", "type": "linear", "in": 4, "out": 10}]},
    "data": {"type": "embedded", "train": 160, "test": 60, "batch": 32, "eval_batch": 25,
             "augment": ["pad_crop", "flip"]},
    "optim": {"type": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "schedule": {"type": "cosine"}},
    "loss": {"label_smoothing": 0.1},
    "train": {"epochs": 3, "log_every": 2, "ema": {"decay": 0.9}}})",
                               "tiny.json");
  for (const std::string& assignment : assignments) set_option(config, assignment);
  return config;
}

struct Session {
  std::ostringstream out, err;
  Console console{out, err, false};
  Progress progress{console};

  TrainOutcome train(const Config& config, const std::string& folder, bool resume = false, int64_t stop_at = -1) {
    TrainRequest request{read_run_config(config), {folder}, resume, {}};
    if (stop_at >= 0) request.stop = [stop_at](int64_t step) { return step >= stop_at; };
    return Trainer(request, progress).run();
  }
};

/// All tensors of a run's last checkpoint but the clock time, as bytes.
std::map<std::string, std::string> final_state(const std::string& folder) {
  std::map<std::string, std::string> state;
  for (const auto& [name, tensor] : read_safetensors(folder + "/last.safetensors").tensors) {
    std::string bytes(reinterpret_cast<const char*>(tensor.raw()), tensor.bytes());
    if (name == "train/sums") bytes.resize(bytes.size() - sizeof(double));
    state[name] = bytes;
  }
  return state;
}

std::vector<Json> metric_lines(const std::string& folder) {
  std::vector<Json> lines;
  std::ifstream file(folder + "/metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    Json json = Json::parse(line);
    json.erase("images_per_second");
    json.erase("seconds");
    lines.push_back(json);
  }
  return lines;
}

}  // namespace

TEST_CASE("trainer: a run leaves config, metrics, events, checkpoints and results") {
  const test::Scratch folder("run");
  Session session;
  const TrainOutcome outcome = session.train(tiny(), folder / "run");
  CHECK(outcome.step == 15);
  CHECK(outcome.results["total"] == 60);
  CHECK(outcome.results["parameters"] == 3 * 4 * 9 + 8 + 50);
  for (const char* file : {"config.json", "run.json", "results.json", "last.safetensors", "best.safetensors"})
    CHECK(std::filesystem::exists(folder / ("run/" + std::string(file))));
  const auto lines = metric_lines(folder / "run");
  CHECK(lines.size() == 7 + 3);
  CHECK(lines.back()["kind"] == "epoch");
  CHECK(lines.back().contains("ema_top1"));
  CHECK(Json::parse(read_text_file(folder / "run/results.json"))["top1"] == outcome.results["top1"]);

  SUBCASE("its last checkpoint measures what the run reported") {
    const TrainedModel model = load_trained(folder / "run/last.safetensors");
    CHECK(model.averaged);
    const auto source = build_source(choose_data(model.config, ""));
    Loader loader(*source, source->open(Split::test), {.batch = 7, .workers = 0});
    CHECK(evaluate(model.graph, loader, {})->correct == outcome.results["correct"].get<int64_t>());
  }
  SUBCASE("its folder is not used for another run") {
    CHECK_THROWS_AS(session.train(tiny(), folder / "run"), UsageError);
    CHECK_THROWS_AS(session.train(tiny({"/optim/lr=0.2"}), folder / "run", true), UsageError);
  }
  SUBCASE("resuming it when it is complete changes nothing") {
    const auto before = final_state(folder / "run");
    CHECK(session.train(tiny(), folder / "run", true).results["correct"] == outcome.results["correct"]);
    CHECK(final_state(folder / "run") == before);
    CHECK(metric_lines(folder / "run") == lines);
  }
  SUBCASE("another run can start from it") {
    Session other;
    Config config = tiny({"/train/init=" + (folder / "run/best.safetensors"), "/optim/lr=0", "/train/epochs=1"});
    config.json["train"]["ema"] = nullptr;
    other.train(config, folder / "next");
    const TensorFile next = read_safetensors(folder / "next/last.safetensors");
    const TensorFile best = read_safetensors(folder / "run/best.safetensors");
    CHECK(std::memcmp(next.find("conv.weight")->raw(), best.find("conv.weight")->raw(),
                      best.find("conv.weight")->bytes()) == 0);
  }
  SUBCASE("a run whose batch norm is folded can start from it") {
    Session other;
    Config config = tiny({"/train/init=" + (folder / "run/best.safetensors"), "/optim/lr=0", "/train/epochs=1"});
    config.json["train"]["ema"] = nullptr;
    config.json["quant"] = Json::parse(R"([{"match": "conv", "weight": {"type": "affine"}, "fold_batch_norm": {}}])");
    other.train(config, folder / "folded");
    const TensorFile next = read_safetensors(folder / "folded/last.safetensors");
    const TensorFile best = read_safetensors(folder / "run/best.safetensors");
    CHECK(std::memcmp(next.find("conv.weight")->raw(), best.find("conv.weight")->raw(),
                      best.find("conv.weight")->bytes()) == 0);
    CHECK(next.find("bn.weight") == nullptr);
  }
}

TEST_CASE("trainer: a run ends the same, bit for bit, whether layers are fused or not") {
  const test::Scratch folder("fuse");
  Session session;
  session.train(tiny(), folder / "fused");
  session.train(tiny({"/train/fuse=false"}), folder / "plain");
  CHECK(final_state(folder / "fused") == final_state(folder / "plain"));
  CHECK(metric_lines(folder / "fused") == metric_lines(folder / "plain"));
  // Nor need a run go on as it began.
  session.train(tiny(), folder / "mixed", false, 7);
  session.train(tiny({"/train/fuse=false"}), folder / "mixed", true);
  CHECK(final_state(folder / "mixed") == final_state(folder / "plain"));
}

TEST_CASE("trainer: interrupted at any step and resumed, a run ends the same, bit for bit") {
  const test::Scratch folder("resume");
  Session session;
  session.train(tiny(), folder / "whole");
  const auto expected = final_state(folder / "whole");
  // 5 and 10 end an epoch: only its evaluation is missing then.
  for (const int64_t stop : {1, 5, 7, 10, 14}) {
    CAPTURE(stop);
    const std::string run = folder / ("stopped" + std::to_string(stop));
    const TrainOutcome outcome = session.train(tiny(), run, false, stop);
    CHECK(outcome.interrupted);
    CHECK(outcome.step == stop);
    CHECK_FALSE(session.train(tiny(), run, true).interrupted);
    CHECK(final_state(run) == expected);
    CHECK(metric_lines(run) == metric_lines(folder / "whole"));
  }
}

TEST_CASE("trainer: threads and workers do not change the final weights") {
  const test::Scratch folder("threads");
  Session session;
  const int before = threads();
  session.train(tiny({"/train/threads=1", "/data/workers=1"}), folder / "one");
  session.train(tiny({"/train/threads=2", "/data/workers=4"}), folder / "two");
  session.train(tiny({"/train/threads=3", "/data/workers=0"}), folder / "three");
  set_threads(before);
  CHECK(final_state(folder / "one") == final_state(folder / "two"));
  CHECK(final_state(folder / "one") == final_state(folder / "three"));
}

TEST_CASE("trainer: a loss that is not finite stops the run and names layer, step and last checkpoint") {
  const test::Scratch folder("nan");
  Session session;
  session.train(tiny(), folder / "run", false, 6);
  const auto before = final_state(folder / "run");
  // Spoil one weight of the checkpoint, as a run gone wrong would.
  const std::string last = folder / "run/last.safetensors";
  TensorFile file = read_safetensors(last);
  file.find("fc.weight")->mutable_data<float>()[3] = std::numeric_limits<float>::infinity();
  write_safetensors(last, file);
  const std::string spoilt = read_text_file(last);
  std::string message;
  try {
    session.train(tiny(), folder / "run", true);
  } catch (const UsageError&) {
  } catch (const Error& error) {
    message = error.what();
  }
  CAPTURE(message);
  CHECK(message.find("step 7 (epoch 2)") != std::string::npos);
  CHECK(message.find("'fc' (linear)") != std::string::npos);
  CHECK(message.find(last + " (step 6)") != std::string::npos);
  CHECK(read_text_file(last) == spoilt);
}

TEST_CASE("trainer: a rate that blows up is caught before a checkpoint is spoilt") {
  const test::Scratch folder("blow");
  Session session;
  CHECK_THROWS_AS(session.train(tiny({"/optim/lr=1e38", "/train/checkpoint_every_steps=1"}), folder / "run"),
                  NotFinite);
  if (std::filesystem::exists(folder / "run/last.safetensors"))
    for (const auto& entry : read_safetensors(folder / "run/last.safetensors").tensors)
      CHECK_MESSAGE(all_finite(entry.second), entry.first);
}

TEST_CASE("trainer: a checkpoint that lacks what resuming needs is refused by name") {
  const test::Scratch folder("lacking");
  Session session;
  session.train(tiny(), folder / "run", false, 3);
  const std::string last = folder / "run/last.safetensors";
  const TensorFile whole = read_safetensors(last);
  for (const char* name : {"train/step", "train/optim/fc.weight.momentum", "train/ema/bn.weight", "conv.weight"}) {
    CAPTURE(name);
    TensorFile cut = whole;
    std::erase_if(cut.tensors, [name](const auto& entry) { return entry.first == name; });
    REQUIRE(cut.tensors.size() + 1 == whole.tensors.size());
    write_safetensors(last, cut);
    try {
      session.train(tiny(), folder / "run", true);
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find(name) != std::string::npos);
    }
  }
}

TEST_CASE("trainer: a batch larger than the data set is a config error") {
  const test::Scratch folder("large");
  Session session;
  CHECK_THROWS_AS(session.train(tiny({"/data/batch=161"}), folder / "run"), UsageError);
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
}

}  // namespace nibble
