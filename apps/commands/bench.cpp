#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ostream>

#include "apps/bench_model.h"
#include "apps/commands/commands.h"
#include "apps/machine.h"
#include "apps/noise.h"
#include "apps/progress.h"
#include "apps/run_directory.h"
#include "apps/run_parts.h"
#include "apps/train_step.h"
#include "apps/trained_model.h"
#include "core/allocator.h"
#include "core/cpu.h"
#include "core/parallel.h"

namespace nibble {
namespace {

constexpr int kWarmUpSteps = 3, kBatches = 2;

/// Normal noise of the network's input shape, with random labels.
std::vector<Batch> synthetic_batches(const Shape& input, int64_t size, int classes) {
  std::vector<Batch> batches;
  Rng rng(1);
  for (int k = 0; k < kBatches; ++k) {
    Batch batch{noise_images(input, size, rng), Tensor::empty(Shape{size}, DType::i32), k};
    for (int32_t& label : batch.labels.mutable_data<int32_t>())
      label = static_cast<int32_t>(rng.next_below(static_cast<uint32_t>(classes)));
    batches.push_back(std::move(batch));
  }
  return batches;
}

RunConfig bench_config(const Arguments& args) {
  if (args.positional().size() > 1) return load_run_config(args.positional()[1], args.all("--set"));
  Config config(
      Json{{"name", "bench"},
           {"model", {{"type", "resnet20"}}},
           {"data", {{"type", "cifar10"}}},
           {"optim", {{"type", "sgd"}, {"lr", 0.1}, {"momentum", 0.9}, {"nesterov", true}, {"weight_decay", 1e-4}}}},
      "bench");
  for (const std::string& assignment : args.all("--set")) set_option(config, assignment);
  return read_run_config(config);
}

/// Seconds of every measured step.
std::vector<double> time_steps(TrainStep& step, const std::vector<Batch>& batches, int64_t count, double lr,
                               Progress& progress) {
  Rng rng(1);
  std::vector<double> seconds;
  progress.start("bench train", count + kWarmUpSteps);
  for (int64_t i = 0; i < count + kWarmUpSteps; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    TrainClock clock;
    clock.step = i;
    clock.lr = lr;
    step.run(batches[static_cast<size_t>(i) % batches.size()], clock, rng);
    const double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (i >= kWarmUpSteps) seconds.push_back(taken);
    progress.update(i + 1, "");
  }
  progress.clear();
  return seconds;
}

Json measure_training(const Arguments& args, Console& console) {
  const RunConfig config = bench_config(args);
  if (config.train.threads > 0 && !args.has("--threads")) set_threads(config.train.threads);
  const RunParts parts = build_parts(config);
  attach_optimizer(parts, config);
  TrainStep step(parts.graph, parts.optimizer, config.loss.label_smoothing, load_teacher(config, parts));
  const int64_t batch = args.integer("--batch", parts.source->options().batch, 1, 1 << 20);
  const int64_t steps = args.integer("--steps", 30, 1, 1000000);
  const auto batches = synthetic_batches(parts.graph.input_shape(), batch, parts.source->classes());

  Progress progress(console);
  // A small rate keeps noise from diverging; the work is the same.
  std::vector<double> seconds = time_steps(step, batches, steps, 1e-4, progress);
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  const AllocatorStats memory = allocator_stats();
  return {{"model", config.model.type()},
          {"batch", batch},
          {"threads", threads()},
          {"steps", steps},
          {"images_per_second", static_cast<double>(batch) / median},
          {"seconds_per_step", {{"median", median}, {"min", seconds.front()}, {"max", seconds.back()}}},
          {"peak_rss_bytes", peak_rss_bytes()},
          {"data_bytes", static_cast<int64_t>(kBatches * (batches[0].images.bytes() + batches[0].labels.bytes()))},
          {"allocator",
           {{"system_allocations", memory.system_allocations},
            {"reused", memory.reused},
            {"peak_bytes_in_use", memory.peak_bytes_in_use},
            {"bytes_held", memory.bytes_held}}},
          {"machine", machine_info()}};
}

void print_training(const Json& json, std::ostream& out) {
  const auto& seconds = json["seconds_per_step"];
  char text[300];
  std::snprintf(text, sizeof text,
                "%s, batch %lld, %d threads: %.0f images/s (median of %lld steps: %.1f ms, %.1f to %.1f ms)\n"
                "peak memory %.0f MiB\n",
                json["model"].get<std::string>().c_str(), json["batch"].get<long long>(), json["threads"].get<int>(),
                json["images_per_second"].get<double>(), json["steps"].get<long long>(),
                1e3 * seconds["median"].get<double>(), 1e3 * seconds["min"].get<double>(),
                1e3 * seconds["max"].get<double>(), json["peak_rss_bytes"].get<double>() / (1 << 20));
  out << machine_line(json["machine"]) << "\n" << text;
}

Json measure_inference(const Arguments& args, Console& console) {
  const TrainedModel model = load_trained(find_checkpoint(args.positional()[0]));
  BenchModelOptions options;
  options.batch = args.integer("--batch", 1, 1, 1 << 16);
  options.steps = args.integer("--steps", 50, 1, 1000000);
  options.per_layer = args.has("--per-layer");
  Progress progress(console);
  Json json = {{"model", model.path}, {"threads", threads()}};
  json.update(bench_model(model.graph, options, progress));
  json["peak_rss_bytes"] = peak_rss_bytes();
  json["machine"] = machine_info();
  return json;
}

void print_inference(const Json& json, std::ostream& out) {
  const auto& seconds = json["seconds_per_batch"];
  char text[300];
  std::snprintf(text, sizeof text,
                "%s, batch %lld, %d threads: %.0f images/s (median of %lld passes: %.3f ms, %.3f to %.3f ms)\n",
                json["model"].get<std::string>().c_str(), json["batch"].get<long long>(), json["threads"].get<int>(),
                json["images_per_second"].get<double>(), json["steps"].get<long long>(),
                1e3 * seconds["median"].get<double>(), 1e3 * seconds["min"].get<double>(),
                1e3 * seconds["max"].get<double>());
  out << machine_line(json["machine"]) << "\n" << text;
  if (!json.contains("layers")) return;
  for (const Json& layer : json["layers"]) {
    std::snprintf(text, sizeof text, "%10.1f us  %-16s %s\n", layer["microseconds"].get<double>(),
                  layer["type"].get<std::string>().c_str(), layer["name"].get<std::string>().c_str());
    out << text;
  }
}

/// Before anything asks for the processor's features, which are looked up once.
void apply_isa(const Arguments& args) {
  if (!args.has("--isa")) return;
  const std::string tier = args.text("--isa");
  try {
    cpu::limit_to_tier(cpu::detected(), tier);
  } catch (const Error& error) {
    throw UsageError("nibble bench: --isa: " + std::string(error.what()));
  }
  setenv("NIBBLE_ISA", tier.c_str(), 1);
}

int run_bench(const Arguments& args, Console& console) {
  if (args.positional().empty()) {
    console.out << "train   images per second of the training step, on synthetic batches\n"
                   "MODEL   images per second of a checkpoint or lowered model, on synthetic batches\n";
    return 0;
  }
  apply_isa(args);
  apply_threads(args);
  const bool training = args.positional()[0] == "train";
  if (!training && args.positional().size() > 1)
    throw UsageError("nibble bench: one model at a time, got also '" + args.positional()[1] + "'");
  const Json json = training ? measure_training(args, console) : measure_inference(args, console);
  if (args.has("--json")) {
    console.out << json_text(json);
  } else if (training) {
    print_training(json, console.out);
  } else {
    print_inference(json, console.out);
  }
  return 0;
}

}  // namespace

Command bench_command() {
  CommandSpec spec;
  spec.name = "bench";
  spec.arguments = "[train [CONFIG] | RUN_OR_MODEL]";
  spec.max_arguments = 2;
  spec.doc =
      "measure speed and memory; without arguments, list the benchmarks.\n"
      "\"bench train\" times the training step of a config's network (by default ResNet-20) on synthetic images, "
      "\"bench\n"
      "RUN_OR_MODEL\" the evaluation of a trained or lowered network.";
  spec.options = {
      {"--batch", "N", "images per step; by default the config's, for a model 1", "", false},
      {"--steps", "N", "measured steps, after some that are not (30; for a model 50)", "", false},
      {"--per-layer", "", "a model: also the median time of every layer", "", false},
      {"--isa", "TIER", "use no instructions above this tier (scalar, sse4, avx2, avxvnni, avx512, ...)", "", false},
      option::threads(),
      option::set(),
      option::json()};
  return {spec, run_bench};
}

}  // namespace nibble
