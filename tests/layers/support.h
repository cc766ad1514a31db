#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "layers/graph.h"
#include "layers/model.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"
#include "third_party/doctest.h"

namespace nibble::test {

/// The message of the Error that f throws; "" if it throws none.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline bool mentions(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    if (text.find(part) == std::string::npos) return false;
  return true;
}

inline std::shared_ptr<Layer> make_layer(const Json& json) { return Registry<Layer>::get().make(Config(json)); }

inline Tensor run_layer(const Json& json, const Tensor& x, const Pass& pass = {}) {
  return make_layer(json)->forward({&x, 1}, pass);
}

/// A network whose batch norms have seen something, so that evaluation is no special case.
inline Graph trained_model(const Json& json, uint64_t seed = 5) {
  Graph graph = build_model(Config(json));
  graph.initialize(seed);
  for (const NamedTensor& entry : state_of(graph))
    if (entry.tensor.rank() == 1) entry.tensor.copy_from(random_tensor(entry.tensor.shape(), seed++, 0.5f, 1.5f));
  return graph;
}

/// A small net with a branch, a join of channels and a sum.
inline Json branching_json() {
  return parse_config(R"({
    "type": "graph", "input": [8, 8, 3],
    "nodes": [
      {"name": "stem", "type": "conv2d", "in": 3, "out": 4, "kernel": 3, "pad": "same"},
      {"name": "left", "type": "conv2d", "in": 4, "out": 4, "kernel": [1, 3], "pad": [0, 0, 1, 1], "bias": false},
      {"name": "norm", "type": "batch_norm", "channels": 4},
      {"name": "act", "type": "relu"},
      {"name": "right", "type": "max_pool", "inputs": "stem", "kernel": 3, "stride": 1, "pad": 1},
      {"name": "sum", "type": "add", "inputs": ["act", "right"]},
      {"name": "join", "type": "concat", "inputs": ["sum", "stem"]},
      {"name": "flat", "type": "flatten"},
      {"name": "drop", "type": "dropout", "p": 0.25},
      {"name": "head", "type": "linear", "in": 512, "out": 5}
    ]})",
                      "branching.json")
      .json;
}

}  // namespace nibble::test
