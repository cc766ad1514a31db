#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ostream>

#include "apps/commands/commands.h"
#include "apps/machine.h"
#include "apps/progress.h"
#include "apps/run_parts.h"
#include "apps/train_step.h"
#include "core/allocator.h"
#include "core/parallel.h"

namespace nibble {
namespace {

constexpr int kWarmUpSteps = 3, kBatches = 2;

/// Normal noise of the network's input shape, with random labels.
std::vector<Batch> synthetic_batches(const Shape& input, int64_t size, int classes) {
  std::vector<Batch> batches;
  Rng rng(1);
  for (int k = 0; k < kBatches; ++k) {
    Batch batch{Tensor::empty(Shape{size, input[0], input[1], input[2]}), Tensor::empty(Shape{size}, DType::i32), k};
    for (float& value : batch.images.mutable_data<float>()) value = rng.next_normal();
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

Json measure(const Arguments& args, Console& console) {
  const RunConfig config = bench_config(args);
  if (config.train.threads > 0 && !args.has("--threads")) set_threads(config.train.threads);
  const RunParts parts = build_parts(config);
  attach_optimizer(parts, config);
  TrainStep step(parts.graph, parts.optimizer, config.loss.label_smoothing);
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

int run_bench(const Arguments& args, Console& console) {
  if (args.positional().empty()) {
    console.out << "train   images per second of the training step, on synthetic batches\n";
    return 0;
  }
  if (args.positional()[0] != "train")
    throw UsageError("nibble bench: unknown benchmark '" + args.positional()[0] + "' (known: train)");
  apply_threads(args);
  const Json json = measure(args, console);
  if (args.has("--json")) {
    console.out << json_text(json);
    return 0;
  }
  const auto& seconds = json["seconds_per_step"];
  char text[300];
  std::snprintf(text, sizeof text,
                "%s, batch %lld, %d threads: %.0f images/s (median of %lld steps: %.1f ms, %.1f to %.1f ms)\n"
                "peak memory %.0f MiB\n",
                json["model"].get<std::string>().c_str(), json["batch"].get<long long>(), json["threads"].get<int>(),
                json["images_per_second"].get<double>(), json["steps"].get<long long>(),
                1e3 * seconds["median"].get<double>(), 1e3 * seconds["min"].get<double>(),
                1e3 * seconds["max"].get<double>(), json["peak_rss_bytes"].get<double>() / (1 << 20));
  console.out << machine_line(json["machine"]) << "\n" << text;
  return 0;
}

}  // namespace

Command bench_command() {
  CommandSpec spec;
  spec.name = "bench";
  spec.arguments = "[train [CONFIG]]";
  spec.max_arguments = 2;
  spec.doc =
      "measure speed and memory; without arguments, list the benchmarks.\n"
      "\"bench train\" times the training step of a config's network (by default ResNet-20) on synthetic images.";
  spec.options = {{"--batch", "N", "images per step; by default the config's", "", false},
                  {"--steps", "N", "measured steps, after three that are not (30)", "", false},
                  option::threads(),
                  option::set(),
                  option::json()};
  return {spec, run_bench};
}

}  // namespace nibble
