#include "apps/bench_train.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ostream>

#include "apps/float_peak.h"
#include "apps/machine.h"
#include "apps/measured_training.h"
#include "apps/median.h"
#include "apps/step_profile.h"
#include "core/allocator.h"
#include "core/parallel.h"

namespace nibble {
namespace {

constexpr int kWarmUpSteps = 3, kBatches = 2;

struct Timing {
  std::vector<double> seconds;
  int64_t system_allocations = 0;
};

Timing time_steps(MeasuredTraining& training, const std::vector<Batch>& batches, int64_t count, Progress& progress) {
  Timing timing;
  int64_t before = 0;
  progress.start("bench train", count + kWarmUpSteps);
  for (int64_t i = 0; i < count + kWarmUpSteps; ++i) {
    if (i == kWarmUpSteps) before = allocator_stats().system_allocations;
    const auto begin = std::chrono::steady_clock::now();
    training.step(batches[static_cast<size_t>(i) % batches.size()]);
    const double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (i >= kWarmUpSteps) timing.seconds.push_back(taken);
    progress.update(i + 1, "");
  }
  progress.clear();
  timing.system_allocations = allocator_stats().system_allocations - before;
  return timing;
}

Json explain_steps(MeasuredTraining& training, const std::vector<Batch>& batches, int64_t count, Progress& progress) {
  const double before = measure_float_peak();
  StepProfile steps;
  profile::Recorder recorder;
  progress.start("explain", count);
  for (int64_t i = 0; i < count; ++i) {
    recorder.clear();
    training.step(batches[static_cast<size_t>(i) % batches.size()]);
    steps.add(recorder.events());
    progress.update(i + 1, "");
  }
  progress.clear();
  Json json = steps.json();
  json["peak_flops"] = std::max(before, measure_float_peak());
  return json;
}

}  // namespace

Json bench_train(const RunConfig& config, const BenchTrainOptions& options, Progress& progress) {
  MeasuredTraining training(config, options.keep_threads);
  const int64_t batch = options.batch > 0 ? options.batch : training.parts().source->options().batch;
  const std::vector<Batch> batches = training.noise(batch, kBatches);
  const Timing timing = time_steps(training, batches, options.steps, progress);
  const double typical = median(timing.seconds);
  const auto [least, most] = std::minmax_element(timing.seconds.begin(), timing.seconds.end());
  const AllocatorStats memory = allocator_stats();
  Json json = {
      {"model", config.model.type()},
      {"batch", batch},
      {"threads", threads()},
      {"steps", options.steps},
      {"images_per_second", static_cast<double>(batch) / typical},
      {"seconds_per_step", {{"median", typical}, {"min", *least}, {"max", *most}}},
      {"system_allocations", timing.system_allocations},
      {"peak_rss_bytes", peak_rss_bytes()},
      {"data_bytes", static_cast<int64_t>(kBatches * (batches[0].images.bytes() + batches[0].labels.bytes()))},
      {"allocator",
       {{"system_allocations", memory.system_allocations},
        {"reused", memory.reused},
        {"peak_bytes_in_use", memory.peak_bytes_in_use},
        {"bytes_held", memory.bytes_held}}},
  };
  if (options.explain) json["explain"] = explain_steps(training, batches, options.steps, progress);
  json["machine"] = machine_info();
  return json;
}

void print_bench_train(const Json& json, std::ostream& out) {
  const auto& seconds = json["seconds_per_step"];
  char text[400];
  std::snprintf(text, sizeof text,
                "%s, batch %lld, %d threads: %.0f images/s (median of %lld steps: %.1f ms, %.1f to %.1f ms)\n"
                "peak memory %.0f MiB; blocks that tensors took from the system in these steps: %lld\n",
                json["model"].get<std::string>().c_str(), json["batch"].get<long long>(), json["threads"].get<int>(),
                json["images_per_second"].get<double>(), json["steps"].get<long long>(),
                1e3 * seconds["median"].get<double>(), 1e3 * seconds["min"].get<double>(),
                1e3 * seconds["max"].get<double>(), json["peak_rss_bytes"].get<double>() / (1 << 20),
                json["system_allocations"].get<long long>());
  out << machine_line(json["machine"]) << "\n" << text;
  if (!json.contains("explain")) return;
  out << "\n";
  print_kernels_of_profile(json["explain"], out);
}

}  // namespace nibble
