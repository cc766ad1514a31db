#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "layers/layer.h"

namespace nibble {

/// One edge producer: a named layer and the names of the nodes it reads. The graph's input is named "input".
struct Node {
  std::string name;
  std::shared_ptr<Layer> layer;
  std::vector<std::string> inputs;
};

/// An acyclic network: nodes in an order in which every input exists before it is read. Copies share their layers;
/// clone() does not.
class Graph {
 public:
  /// Sees every node's output, in order.
  using Watch = std::function<void(const Node&, const Tensor&)>;

  Graph() = default;
  /// Shape of one sample, (H, W, C): what inspect, check and predict feed it.
  explicit Graph(Shape input_shape) : input_shape_(input_shape) {}

  /// Appends a node and returns its name, so that calls chain. Throws if the name is taken, empty, "input" or
  /// contains '/', if an input does not exist, or if the parameters of all nodes come to more than 2^29 values.
  std::string add(std::string name, std::shared_ptr<Layer> layer, std::vector<std::string> inputs);
  /// Builds the layer from options with a "type": add("relu1", {{"type", "relu"}}, {"bn1"}).
  std::string add(std::string name, const Json& layer, std::vector<std::string> inputs);

  /// Output of the last node, or of the first of outputs(). In eval mode nothing is recorded and activations are
  /// released after their last reader. Errors name the node.
  Tensor forward(const Tensor& x, const Pass& pass, const Watch& watch = {}) const;
  /// One tensor per name in outputs().
  std::vector<Tensor> forward_all(const Tensor& x, const Pass& pass, const Watch& watch = {}) const;

  const std::vector<Node>& nodes() const { return nodes_; }
  /// Throws if there is no such node.
  const Node& node(const std::string& name) const;
  bool contains(const std::string& name) const;
  const Shape& input_shape() const { return input_shape_; }
  void set_input_shape(const Shape& shape) { input_shape_ = shape; }
  /// Names of the output nodes; by default the last node.
  std::vector<std::string> outputs() const;
  void set_outputs(std::vector<std::string> names);

  /// Visits every layer under "node name.".
  void visit(StateVisitor& visitor) const;
  /// Initialises every layer from a generator that depends on (seed, node name) only.
  void initialize(uint64_t seed) const;

  /// {"input": [H, W, C], "nodes": [{"name", "type", "inputs", options...}], "outputs": [...]}.
  Json to_json() const;
  /// Throws UsageError naming the place in the config.
  static Graph from_json(const Config& config);
  /// Same structure, own layers with copied state.
  Graph clone() const;

 private:
  /// Position of a node; throws, with a suggestion, if there is none of that name.
  size_t index_of(const std::string& name) const;

  std::vector<Node> nodes_;
  std::unordered_map<std::string, size_t> index_;
  std::vector<std::string> outputs_;
  Shape input_shape_;
  int64_t parameters_ = 0;
};

/// A tensor of a graph's state, by its full name ("layer1.0.conv1.weight").
struct NamedTensor {
  std::string name;
  Tensor tensor;
  ParamTraits traits;
  bool is_param = false;
};
/// Parameters and buffers in visiting order.
std::vector<NamedTensor> state_of(const Graph& graph);
std::vector<NamedTensor> parameters_of(const Graph& graph);

}  // namespace nibble
