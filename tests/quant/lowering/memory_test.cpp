#include <unistd.h>

#include <filesystem>

#include "core/allocator.h"
#include "core/file.h"
#include "layers/checkpoint.h"
#include "quant/lowering/lowered_model.h"
#include "tests/apps/scratch.h"
#include "tests/quant/lowering/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// Mostly weights: 1.8 million.
const char* const kNetwork = R"({
  "type": "graph", "input": [6, 6, 8],
  "nodes": [
    {"name": "stem", "type": "conv2d", "in": 8, "out": 256, "kernel": 3, "stride": 2, "pad": "same"},
    {"name": "act", "type": "relu"},
    {"name": "conv", "type": "conv2d", "in": 256, "out": 512, "kernel": 3, "pad": "same"},
    {"name": "pool", "type": "global_avg_pool"},
    {"name": "fc", "type": "linear", "in": 512, "out": 1000}
  ]})";

Graph lowered_network() {
  const Json model = parse_config(kNetwork, "network").json;
  return lower(quantized_network(model, integer_rules({{"type", "affine"}}, false))).graph;
}

}  // namespace

TEST_CASE("load_lowered: holds little more than the model, and as much again for no image") {
  const Scratch folder("memory");
  const std::string path = folder / "model";
  Tensor expected;
  {
    const Graph graph = lowered_network();
    save_checkpoint(path, graph, Json::object());
    expected = graph.forward(images(graph, 1, 3), {Mode::eval});
  }
  const int before_threads = threads();
  set_threads(1);
  const auto file_bytes = static_cast<int64_t>(std::filesystem::file_size(path));
  release_unused_memory();
  const int64_t before = allocator_stats().bytes_held;
  const Graph graph = load_lowered(path);
  const int64_t tensors = allocator_stats().bytes_held - before;
  CHECK(plan_bytes(graph) > file_bytes / 2);
  CHECK(tensors < file_bytes / 20);  // the weights stay in the file

  const Tensor x = images(graph, 1, 3);
  int64_t largest = 0, second = static_cast<int64_t>(x.bytes());
  CHECK(same_bits(graph.forward(x, {}), expected));
  graph.forward(x, {}, [&](const Node&, const Tensor& y) {
    const auto bytes = static_cast<int64_t>(y.bytes());
    if (bytes > second) second = bytes;
    if (second > largest) std::swap(second, largest);
  });
  const AllocatorStats run = allocator_stats();
  CHECK(2 * (plan_bytes(graph) + run.bytes_held - before) <= 3 * file_bytes + 2 * (largest + second));
  graph.forward(x, {});
  CHECK(allocator_stats().system_allocations == run.system_allocations);
  set_threads(before_threads);
}

TEST_CASE("load_lowered: the network outlives its file, replaced or cut short, also for borders not met before") {
  const Scratch folder("memory");
  const std::string path = folder / "model";
  const Graph graph = lowered_network();
  const Tensor x = images(graph, 2, 3), odd = normal_tensor({1, 7, 5, 8}, 4);
  const Tensor expected = graph.forward(x, {}), expected_odd = graph.forward(odd, {});
  save_checkpoint(path, graph, Json::object());
  const Graph first = load_lowered(path);
  write_file_atomically(path, std::string_view("something else"));
  CHECK(same_bits(first.forward(x, {}), expected));
  CHECK(same_bits(first.clone().forward(x, {}), expected));  // reads the weights again

  save_checkpoint(path, graph, Json::object());
  const Graph second = load_lowered(path);
  REQUIRE(::truncate(path.c_str(), 100) == 0);
  CHECK(same_bits(second.forward(x, {}), expected));
  CHECK(same_bits(second.forward(odd, {}), expected_odd));
}

TEST_CASE("map_checkpoint: gives what load_checkpoint gives, and may be written to") {
  const Scratch folder("memory");
  const std::string path = folder / "model";
  save_checkpoint(path, lowered_network(), Json::object());
  const Checkpoint read = load_checkpoint(path), mapped = map_checkpoint(path);
  const auto a = state_of(read.graph), b = state_of(mapped.graph);
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    CAPTURE(a[i].name);
    CHECK(a[i].tensor.dtype() == b[i].tensor.dtype());
    CHECK(std::equal(a[i].tensor.raw(), a[i].tensor.raw() + a[i].tensor.bytes(), b[i].tensor.raw()));
    if (b[i].tensor.bytes() > 0) b[i].tensor.raw()[0] = std::byte{1};
  }
  CHECK(same_bits(load_lowered(path).forward(images(read.graph, 1, 5), {}),
                  read.graph.forward(images(read.graph, 1, 5), {})));
}
