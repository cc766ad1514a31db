#include <map>
#include <set>
#include <sstream>

#include "apps/trainer.h"
#include "core/parallel.h"
#include "core/safetensors.h"
#include "tests/apps/scratch.h"
#include "tests/quant/quantizer_subjects.h"
#include "third_party/doctest.h"

/// Every quantizer that is registered trains on in a new process as if nothing had happened.
namespace nibble {
namespace {

constexpr int kSteps = 16;

/// Two epochs of eight steps. `rule` is the quantized convolution's; incremental methods get as many phases as they
/// have.
Config config_with(Json rule, int phases) {
  Config config = parse_config(R"({
    "name": "tiny",
    "model": {"type": "graph", "nodes": [
      {"name": "first", "type": "conv2d", "in": 3, "out": 4, "kernel": 3, "stride": 4, "pad": 1, "bias": false},
      {"name": "bn1", "type": "batch_norm", "channels": 4},
      {"name": "relu", "type": "relu"},
      {"name": "conv", "type": "conv2d", "in": 4, "out": 6, "kernel": 3, "stride": 2, "pad": 1, "bias": false},
      {"name": "bn2", "type": "batch_norm", "channels": 6},
      {"name": "pool", "type": "global_avg_pool"},
      {"name": "fc", "type": "linear", "in": 6, "out": 10}]},
    "data": {"type": "embedded", "train": 16, "test": 2, "batch": 2, "workers": 0},
    "quant": [],
    "optim": {"type": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4},
    "train": {"epochs": 2, "eval_every": 2, "log_every": 0, "ema": {"decay": 0.9}, "threads": 1}})",
                               "tiny.json");
  rule["match"] = "conv";
  config.json["quant"].push_back(rule);
  if (phases > 1) config.json["optim"]["schedule"] = {{"type", "phases"}, {"count", phases}};
  return config;
}

void train(const Config& config, const std::string& folder, bool resume, int64_t stop_at) {
  std::ostringstream out, err;
  Console console{out, err, false};
  Progress progress{console};
  TrainRequest request{read_run_config(config), {folder}, resume, {}};
  if (stop_at >= 0) request.stop = [stop_at](int64_t step) { return step >= stop_at; };
  const TrainOutcome outcome = Trainer(request, progress).run();
  CHECK(outcome.step == (stop_at >= 0 ? stop_at : kSteps));
}

/// Parameters, buffers, optimizer state, averages and position of a run's last checkpoint, but not the clock time.
std::map<std::string, std::string> final_state(const std::string& folder) {
  std::map<std::string, std::string> state;
  for (const auto& [name, tensor] : read_safetensors(folder + "/last.safetensors").tensors) {
    std::string bytes(reinterpret_cast<const char*>(tensor.raw()), tensor.bytes());
    if (name == "train/sums") bytes.resize(bytes.size() - sizeof(double));
    state[name] = bytes;
  }
  return state;
}

/// "" or the names of the tensors that differ.
std::string differences(const std::map<std::string, std::string>& a, const std::map<std::string, std::string>& b) {
  std::string found;
  for (const auto& [name, bytes] : a)
    if (!b.contains(name) || b.at(name) != bytes) found += name + " ";
  for (const auto& entry : b)
    if (!a.contains(entry.first)) found += entry.first + " ";
  return found;
}

/// Trains in one go, and with a stop in the middle: of the run, or of the second phase if there are several.
void check_resumes(const Json& rule, int phases) {
  const test::Scratch folder("resume-quantizer");
  const int before = threads();
  const Config config = config_with(rule, phases);
  const int64_t stop = phases > 1 ? kSteps / phases * 3 / 2 : kSteps / 2;
  train(config, folder / "whole", false, -1);
  train(config, folder / "parts", false, stop);
  const auto middle = final_state(folder / "parts"), end = final_state(folder / "whole");
  train(config, folder / "parts", true, -1);
  set_threads(before);
  CHECK(differences(end, final_state(folder / "parts")) == "");
  // Nothing would have been tested if nothing had changed on the way.
  CHECK(middle.at("fc.weight") != end.at("fc.weight"));
}

/// Whether a policy accepts the rule for a layer; its defaults it must accept.
bool fits(const test::NamedSubject& named, const Json& rule) {
  try {
    build_parts(read_run_config(config_with(rule, 1)));
    return true;
  } catch (const UsageError& error) {
    if (named.options.empty()) FAIL(error.what());
    return false;
  }
}

}  // namespace

TEST_CASE("resume: with every registered quantizer, bit for bit") {
  std::set<std::string> tried;
  for (const test::NamedSubject& named : test::registered_quantizers()) {
    CAPTURE(named.name);
    // Widths differ in numbers only: besides the default, one will do.
    if (named.options.contains("bits") && named.options["bits"] != 2) continue;
    Json quantizer = {{"type", named.type}};
    quantizer.update(named.options);
    const Json rule = {{named.subject.weight ? "weight" : "act", quantizer}};
    const int phases = named.subject.make(named.subject.shape())->phases();
    REQUIRE(phases * 2 <= kSteps);
    if (!fits(named, rule)) continue;
    check_resumes(rule, phases);
    tried.insert(named.type);
  }
  CHECK(tried.size() >= 16);
}

TEST_CASE("resume: with batch norms folded, quantized outputs, and frozen statistics, bit for bit") {
  for (const int freeze : {-1, 5, 12}) {
    CAPTURE(freeze);
    check_resumes({{"weight", {{"type", "affine"}}},
                   {"act", {{"type", "affine"}, {"delay", 4}}},
                   {"place", "outputs"},
                   {"fold_batch_norm", {{"mode", "corrected"}, {"freeze", freeze}}}},
                  1);
  }
}

TEST_CASE("resume: with quantized gradients, an input scale and statistics that freeze, bit for bit") {
  const Json xnor = {{"type", "xnor"}, {"use_k", true}};
  check_resumes({{"weight", {{"type", "xnor"}}}, {"act", xnor}, {"grad", {{"type", "dorefa_gradient"}, {"bits", 4}}}},
                1);
  // Frozen from step 12 on, after the stop at 8.
  check_resumes({{"weight", {{"type", "affine"}}}, {"fold_batch_norm", {{"freeze_share", 0.25}}}}, 1);
}

}  // namespace nibble
