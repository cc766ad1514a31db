#include "apps/bench_model.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include "apps/median.h"
#include "apps/noise.h"
#include "core/allocator.h"
#include "core/bit_hash.h"
#include "core/error.h"

namespace nibble {
namespace {

constexpr int64_t kWarmUp = 5;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// The time from one node's end to the next one's, for every node.
Json layer_times(const Graph& graph, const Tensor& x, int64_t steps) {
  std::vector<std::vector<double>> times(graph.nodes().size());
  for (int64_t step = 0; step < steps; ++step) {
    size_t at = 0;
    Clock::time_point last = Clock::now();
    graph.forward(x, {}, [&times, &at, &last](const Node&, const Tensor&) {
      const Clock::time_point now = Clock::now();
      times[at++].push_back(std::chrono::duration<double>(now - last).count());
      last = Clock::now();
    });
  }
  Json layers = Json::array();
  for (size_t i = 0; i < times.size(); ++i) {
    const Node& node = graph.nodes()[i];
    layers.push_back(
        {{"name", node.name}, {"type", std::string(node.layer->type())}, {"microseconds", 1e6 * median(times[i])}});
  }
  return layers;
}

/// Of the input and of what the nodes give.
int64_t two_largest_activations(const Graph& graph, const Tensor& x) {
  std::vector<int64_t> bytes{0, static_cast<int64_t>(x.bytes())};
  graph.forward(x, {}, [&bytes](const Node&, const Tensor& y) { bytes.push_back(static_cast<int64_t>(y.bytes())); });
  std::ranges::partial_sort(bytes, bytes.begin() + 2, std::greater<>());
  return bytes[0] + bytes[1];
}

}  // namespace

Json bench_model(const Graph& graph, const BenchModelOptions& options, Progress& progress) {
  NIBBLE_CHECK(graph.input_shape().rank() > 0, "bench: the network does not say what shape its input has");
  Rng rng(1);
  const Tensor x = noise_images(graph.input_shape(), options.batch, rng);
  progress.start("bench", options.steps + kWarmUp);
  std::vector<double> seconds;
  int64_t allocations = 0;
  for (int64_t step = 0; step < options.steps + kWarmUp; ++step) {
    if (step == kWarmUp) allocations = allocator_stats().system_allocations;
    const Clock::time_point begin = Clock::now();
    graph.forward(x, {});
    if (step >= kWarmUp) seconds.push_back(seconds_since(begin));
    progress.update(step + 1, "");
  }
  progress.clear();
  const double typical = median(seconds);
  const auto [least, most] = std::minmax_element(seconds.begin(), seconds.end());
  Json json = {{"batch", options.batch},
               {"steps", options.steps},
               {"images_per_second", static_cast<double>(options.batch) / typical},
               {"seconds_per_batch", {{"median", typical}, {"min", *least}, {"max", *most}}},
               {"system_allocations", allocator_stats().system_allocations - allocations},
               {"two_largest_activations_bytes", two_largest_activations(graph, x)}};
  if (options.hash) {
    BitHash hash;
    hash.add(graph.forward(x, {}));
    json["logits_hash"] = hash.text();
  }
  if (options.per_layer) json["layers"] = layer_times(graph, x, options.steps);
  return json;
}

}  // namespace nibble
