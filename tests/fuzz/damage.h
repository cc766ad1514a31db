#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "layers/checkpoint.h"
#include "layers/model.h"
#include "quant/policy.h"

/// Networks of 6x5x3 images, and the damage that fuzzers do to the files of them.
namespace nibble::fuzz {

inline Tensor noise(int64_t n) {
  Tensor x = Tensor::empty({n, 6, 5, 3});
  Rng rng(3);
  for (float& v : x.mutable_data<float>()) v = rng.next_normal();
  return x;
}

/// A network whose quantizers have seen a few batches.
inline Graph quantized_network(const char* network, const Json& rules) {
  Graph graph = build_model(parse_config(network, "network"));
  graph.initialize(1);
  graph = quantize(graph, Config(rules));
  Rng rng(1);
  const TrainClock clock;
  const NoRecord guard;
  for (int64_t step = 0; step < 2; ++step) graph.forward(noise(4), {Mode::train, &rng, step, &clock});
  return graph;
}

/// What a checkpoint of it holds.
inline TensorFile file_of(const Graph& graph) {
  TensorFile file;
  file.metadata["nibble.graph"] = graph.to_json().dump();
  file.metadata["nibble.config"] = "{}";
  for (const NamedTensor& entry : state_of(graph)) file.tensors.emplace_back(entry.name, entry.tensor.detach());
  return file;
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

inline Json odd_value(Bytes& bytes) {
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

inline void edit_node(Json& nodes, Bytes& bytes) {
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
      node["type"] = other.value("type", Json());
      break;
    case 3:
      std::swap(node, nodes[bytes.below(nodes.size())]);
      break;
    default: {
      auto item = node.begin();
      std::advance(item, static_cast<std::ptrdiff_t>(bytes.below(node.size())));
      if (item.key() == "name" || item.key() == "inputs") break;
      if (item->is_object() && !item->empty() && bytes.below(4) != 0) {  // a quantizer's options
        auto inner = item->begin();
        std::advance(inner, static_cast<std::ptrdiff_t>(bytes.below(item->size())));
        *inner = odd_value(bytes);
      } else if (bytes.below(8) == 0) {
        node.erase(item);
      } else {
        *item = odd_value(bytes);
      }
    }
  }
}

inline void edit_tensor(TensorFile& file, Bytes& bytes) {
  if (file.tensors.empty()) return;
  Tensor& tensor = file.tensors[bytes.below(file.tensors.size())].second;
  const size_t what = bytes.below(16), at = bytes.below(tensor.bytes());
  if (what == 0) {
    tensor = Tensor::zeros({static_cast<int64_t>(bytes.below(300))}, tensor.dtype());
  } else if (what == 1) {
    tensor = Tensor::zeros(tensor.shape(), bytes.below(2) == 0 ? DType::f32 : DType::i32);
  } else if (what == 2 && tensor.dtype() == DType::f32 && tensor.numel() > 0) {
    constexpr float kOdd[] = {0.f,    -0.f,  1e-45f, -1e-45f,
                              1e-38f, 3e38f, -3e38f, std::numeric_limits<float>::infinity(),
                              1e-6f,  1e30f, -1.f,   std::numeric_limits<float>::quiet_NaN()};
    tensor = tensor.clone();
    tensor.mutable_data<float>()[at / 4 % static_cast<size_t>(tensor.numel())] = kOdd[bytes.below(std::size(kOdd))];
  } else if (tensor.bytes() > 0) {
    tensor = tensor.clone();
    // The whole element, so that multipliers and scales take values from end to end.
    for (size_t i = 0; i < (what < 8 ? 1 : 4); ++i)
      tensor.raw()[(at / 4 * 4 + i) % tensor.bytes()] = static_cast<std::byte>(bytes.next());
  }
}

/// Allowed, but so slow to compute that a fuzzer takes it for a hang: wide borders.
inline bool slow(const Json& nodes) {
  return std::ranges::any_of(nodes, [](const Json& node) {
    const Json pad = node.value("pad", Json(0));
    const auto wide = [](const Json& n) { return n.is_number() && n.get<double>() > 32; };
    return wide(pad) || (pad.is_array() && std::ranges::any_of(pad, wide));
  });
}

/// Damages a file as the bytes say. Returns false where the result would only be slow.
inline bool damage(TensorFile& file, Bytes& bytes) {
  Json graph = Json::parse(file.metadata["nibble.graph"]);
  for (int edits = 0; edits < 16 && !bytes.empty(); ++edits) {
    if (bytes.below(2) == 0)
      edit_node(graph["nodes"], bytes);
    else
      edit_tensor(file, bytes);
  }
  file.metadata["nibble.graph"] = graph.dump();
  return !slow(graph["nodes"]);
}

}  // namespace nibble::fuzz
