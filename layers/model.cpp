#include "layers/model.h"

#include "layers/models/image_shape.h"

namespace nibble {
namespace {

/// A network written out in JSON; what build_model's "graph" and Graph::from_json read.
struct GraphOptions {
  std::vector<int> input{32, 32, 3};
  Config nodes{Json::array()};
  std::vector<std::string> outputs;

  void fields(Fields& f) {
    f("input", input, "extents of one sample: [height, width, channels], or [features]; [] if they do not matter",
      {1, 1 << 20});
    f.required().raw("nodes", nodes, "a list of layers",
                     "the layers in order: each a layer's options, a \"name\", and in \"inputs\" the name or names of "
                     "what it reads (\"input\" is the sample; left out: the node before it)");
    f("outputs", outputs, "names of the nodes whose values are the result; empty: the last one");
  }
};

Shape sample_shape(const std::vector<int>& extents) {
  if (extents.empty()) return {};
  NIBBLE_CHECK(extents.size() == 1 || extents.size() == 3,
               "input: expected [height, width, channels] or [features], got ", extents.size(), " extents");
  return extents.size() == 3 ? image_shape(extents) : Shape{extents[0]};
}

std::string checked_string(const Config& config, const char* what) {
  if (!config.json.is_string()) config.fail(concat_text("expected ", what, ", found ", kind_of(config.json)));
  return config.json.get<std::string>();
}

std::vector<std::string> read_inputs(const Config& node, const Graph& before) {
  if (!node.contains("inputs")) return {before.nodes().empty() ? "input" : before.nodes().back().name};
  const Config list = node.at("inputs");
  if (list.json.is_string()) return {list.json.get<std::string>()};
  if (!list.json.is_array() || list.json.empty()) list.fail("expected a node's name or a list of names");
  std::vector<std::string> inputs;
  for (size_t i = 0; i < list.json.size(); ++i) inputs.push_back(checked_string(list.at(i), "a node's name"));
  return inputs;
}

void add_node(Graph& graph, const Config& node) {
  if (!node.json.is_object()) node.fail("expected a layer, an object with \"name\" and \"type\"");
  const std::string name = checked_string(node.at("name"), "a node's name");
  std::vector<std::string> inputs = read_inputs(node, graph);
  Config layer = node;
  layer.json.erase("name");
  layer.json.erase("inputs");
  std::shared_ptr<Layer> built = Registry<Layer>::get().make(layer);
  try {
    graph.add(name, std::move(built), std::move(inputs));
  } catch (const Error& error) {
    node.fail(error.what());
  }
}

Graph build_graph(const GraphOptions& options) {
  Graph graph(sample_shape(options.input));
  if (!options.nodes.json.is_array() || options.nodes.json.empty())
    options.nodes.fail("expected a list of one or more layers");
  for (size_t i = 0; i < options.nodes.json.size(); ++i) add_node(graph, options.nodes.at(i));
  graph.set_outputs(options.outputs);
  return graph;
}

NIBBLE_REGISTER_MODEL(GraphOptions, build_graph, "graph", "A network written out layer by layer.");

}  // namespace

Json Graph::to_json() const {
  GraphOptions options;
  options.input.assign(input_shape_.begin(), input_shape_.end());
  for (const Node& node : nodes_) {
    Json json{{"name", node.name}, {"type", node.layer->type()}, {"inputs", node.inputs}};
    const Json own = node.layer->config();
    for (const auto& [key, value] : own.items()) {
      NIBBLE_CHECK(!json.contains(key), "graph: the options of '", node.layer->type(), "' layers cannot be written: '",
                   key, "' is a key of the node");
      json[key] = value;
    }
    options.nodes.json.push_back(std::move(json));
  }
  options.outputs = outputs();
  return write_options(options);
}

Graph Graph::from_json(const Config& config) {
  const auto options = read_options<GraphOptions>(config);
  try {
    return build_graph(options);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    config.fail(error.what());
  }
}

Graph build_model(const Config& config) { return *Registry<Graph>::get().make(config); }

}  // namespace nibble
