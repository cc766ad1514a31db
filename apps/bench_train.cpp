#include "apps/bench_train.h"

#include <algorithm>
#include <cstdio>
#include <functional>
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

constexpr int kBatches = 2;

/// Gives them over and over.
std::function<Batch()> in_turn(const std::vector<Batch>& batches) {
  return [&batches, i = size_t{0}]() mutable { return batches[i++ % batches.size()]; };
}

Json explain_steps(MeasuredTraining& training, const std::vector<Batch>& batches, int64_t count, Progress& progress) {
  const double before = measure_float_peak();
  StepProfile steps;
  time_steps(training, in_turn(batches), count, 0, "explain", progress, &steps);
  Json json = steps.json();
  json["peak_flops"] = std::max(before, measure_float_peak());
  return json;
}

}  // namespace

Json bench_train(const RunConfig& config, const BenchTrainOptions& options, Progress& progress) {
  MeasuredTraining training(config, options.keep_threads);
  const int64_t batch = options.batch > 0 ? options.batch : training.parts().source->options().batch;
  const std::vector<Batch> batches = training.noise(batch, kBatches);
  const StepTimes times = time_steps(training, in_turn(batches), options.steps, kWarmUpSteps, "bench train", progress);
  const double typical = median(times.seconds);
  const auto [least, most] = std::minmax_element(times.seconds.begin(), times.seconds.end());
  const AllocatorStats memory = allocator_stats();
  Json json = {
      {"model", config.model.type()},
      {"batch", batch},
      {"threads", threads()},
      {"steps", options.steps},
      {"images_per_second", static_cast<double>(batch) / typical},
      {"seconds_per_step", {{"median", typical}, {"min", *least}, {"max", *most}}},
      {"system_allocations", times.system_allocations},
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
