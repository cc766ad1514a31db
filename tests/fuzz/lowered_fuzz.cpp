#include <algorithm>
#include <cstdint>
#include <cstring>

#include "layers/checkpoint.h"
#include "layers/model.h"
#include "quant/lowering/lower.h"
#include "quant/lowering/lowered_layer.h"
#include "quant/lowering/lowered_model.h"
#include "quant/policy.h"

namespace {

using namespace nibble;

const char* const kNetwork = R"({
  "type": "graph", "input": [6, 5, 3],
  "nodes": [
    {"name": "stem", "type": "conv2d", "in": 3, "out": 4, "kernel": 3, "stride": 2, "pad": "same"},
    {"name": "act", "type": "relu"},
    {"name": "dw", "type": "conv2d", "in": 4, "out": 4, "kernel": 3, "pad": 1, "groups": 4},
    {"name": "sum", "type": "add", "inputs": ["act", "dw"]},
    {"name": "high", "type": "max_pool", "inputs": "sum", "kernel": 3, "stride": 1, "pad": 1},
    {"name": "mean", "type": "avg_pool", "inputs": "sum", "kernel": 3, "stride": 1, "pad": 1},
    {"name": "join", "type": "concat", "inputs": ["high", "mean"]},
    {"name": "pool", "type": "max_pool", "kernel": 2, "stride": 2, "ceil_mode": true},
    {"name": "flat", "type": "flatten"},
    {"name": "fc", "type": "linear", "in": 32, "out": 3},
    {"name": "shares", "type": "softmax"}
  ]})";

Tensor noise(int64_t n) {
  Tensor x = Tensor::empty({n, 6, 5, 3});
  Rng rng(3);
  for (float& v : x.mutable_data<float>()) v = rng.next_normal();
  return x;
}

/// What `nibble lower` would write of a network with these quantizers.
TensorFile lowered_file(const Json& rule) {
  Graph graph = build_model(parse_config(kNetwork, "network"));
  graph.initialize(1);
  graph = quantize(graph, Config(Json::array({rule})));
  Rng rng(1);
  const TrainClock clock;
  const NoRecord guard;
  for (int64_t step = 0; step < 2; ++step) graph.forward(noise(4), {Mode::train, &rng, step, &clock});
  const Graph lowered = lower(graph).graph;
  TensorFile file;
  file.metadata["nibble.graph"] = lowered.to_json().dump();
  file.metadata["nibble.config"] = "{}";
  for (const NamedTensor& entry : state_of(lowered)) file.tensors.emplace_back(entry.name, entry.tensor.detach());
  return file;
}

const std::vector<TensorFile>& valid_files() {
  static const std::vector<TensorFile> files = [] {
    const Json affine{{"type", "affine"}}, lsq{{"type", "lsq"}, {"bits", 4}};
    const Json dorefa{{"type", "dorefa"}, {"bits", 1}};
    return std::vector<TensorFile>{
        lowered_file({{"match", "*"}, {"place", "outputs"}, {"weight", affine}, {"act", affine}}),
        lowered_file({{"match", "*"}, {"weight", lsq}, {"act", lsq}}),
        lowered_file({{"match", "*"}, {"weight", dorefa}, {"act", {{"type", "dorefa"}, {"bits", 2}}}})};
  }();
  return files;
}

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
  bool empty() const { return at_ == end_; }
  size_t next() { return empty() ? 0 : *at_++; }
  size_t below(size_t n) { return n == 0 ? 0 : (next() | next() << 8) % n; }

 private:
  const uint8_t *at_, *end_;
};

Json odd_value(Bytes& bytes) {
  static const std::vector<Json> values{0,         1,
                                        2,         3,
                                        16,        255,
                                        256,       -1,
                                        1 << 20,   1 << 28,
                                        1e10,      1e-45,
                                        1e-30,     1e38,
                                        0.5,       true,
                                        false,     "same",
                                        "fixed",   "float",
                                        "",        {1, 2},
                                        {0, 0, 1}, {{"uniform", 1}},
                                        nullptr,   uint64_t{1} << 63};
  const size_t k = bytes.below(values.size() + 32);
  return k < values.size() ? values[k] : Json(k - values.size());
}

void edit_node(Json& nodes, Bytes& bytes) {
  Json& node = nodes[bytes.below(nodes.size())];
  const Json& other = nodes[bytes.below(nodes.size())];
  const std::string name = other["name"];
  switch (bytes.below(6)) {
    case 0:
      node["inputs"] = Json::array({name});
      break;
    case 1:
      node["inputs"].push_back(bytes.below(4) == 0 ? "nowhere" : name);
      break;
    case 2:
      node["type"] = other["type"];
      break;
    case 3:
      std::swap(node, nodes[bytes.below(nodes.size())]);
      break;
    default: {
      auto item = node.begin();
      std::advance(item, static_cast<std::ptrdiff_t>(bytes.below(node.size())));
      if (item.key() == "name" || item.key() == "inputs") break;
      if (bytes.below(8) == 0)
        node.erase(item);
      else
        *item = odd_value(bytes);
    }
  }
}

void edit_tensor(TensorFile& file, Bytes& bytes) {
  if (file.tensors.empty()) return;
  Tensor& tensor = file.tensors[bytes.below(file.tensors.size())].second;
  const size_t what = bytes.below(16), at = bytes.below(tensor.bytes());
  if (what == 0) {
    tensor = Tensor::zeros({static_cast<int64_t>(bytes.below(300))}, tensor.dtype());
  } else if (what == 1) {
    tensor = Tensor::zeros(tensor.shape(), bytes.below(2) == 0 ? DType::f32 : DType::i32);
  } else if (tensor.bytes() > 0) {
    tensor = tensor.clone();
    // The whole element, so that multipliers and scales take values from end to end.
    for (size_t i = 0; i < (what < 8 ? 1 : 4); ++i)
      tensor.raw()[(at / 4 * 4 + i) % tensor.bytes()] = static_cast<std::byte>(bytes.next());
  }
}

/// Allowed, but so slow to compute that a fuzzer takes it for a hang: wide borders.
bool slow(const Json& nodes) {
  return std::ranges::any_of(nodes, [](const Json& node) {
    const Json pad = node.value("pad", Json(0));
    const auto wide = [](const Json& n) { return n.is_number() && n.get<double>() > 32; };
    return wide(pad) || (pad.is_array() && std::ranges::any_of(pad, wide));
  });
}

}  // namespace

/// A lowered model with any damage to its nodes and tensors: an Error, or a network that runs, from the codes of the
/// image to values. The first byte chooses the model.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  TensorFile file = valid_files()[bytes.below(valid_files().size())];
  Json graph = Json::parse(file.metadata["nibble.graph"]);
  for (int edits = 0; edits < 16 && !bytes.empty(); ++edits) {
    if (bytes.below(2) == 0)
      edit_node(graph["nodes"], bytes);
    else
      edit_tensor(file, bytes);
  }
  if (slow(graph["nodes"])) return 0;
  file.metadata["nibble.graph"] = graph.dump();
  try {
    const Checkpoint checkpoint = checkpoint_from(std::move(file), "fuzz");
    check_lowered(checkpoint.graph);
    checkpoint.graph.forward(noise(2), {Mode::eval});
  } catch (const Error&) {
  }
  return 0;
}
