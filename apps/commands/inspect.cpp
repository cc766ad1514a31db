#include <algorithm>
#include <filesystem>
#include <ostream>

#include "apps/commands/commands.h"
#include "apps/run_config.h"
#include "apps/run_directory.h"
#include "apps/run_parts.h"
#include "core/parallel.h"
#include "layers/checkpoint.h"
#include "layers/describe.h"
#include "layers/model.h"

namespace nibble {
namespace {

bool is_config(const std::string& path) { return std::filesystem::path(path).extension() == ".json"; }

Graph graph_of(const std::string& path, const std::vector<std::string>& assignments) {
  if (!is_config(path)) {
    if (!assignments.empty()) throw UsageError("nibble inspect: --set changes configs, and '" + path + "' is none");
    return load_checkpoint(find_checkpoint(path)).graph;
  }
  Config config = load_config(path);
  for (const std::string& assignment : assignments) set_option(config, assignment);
  // A config file may also hold a network alone.
  const Config model = config.contains("type") ? config : read_run_config(config).model;
  Graph graph = build_model(model);
  output_shape(graph, model);
  return graph;
}

std::string bits_text(const NodeInfo& node) {
  const std::string activation = std::to_string(node.activation_bits);
  return node.weight_bits == 0 ? activation : std::to_string(node.weight_bits) + "/" + activation;
}

void print_table(const std::vector<NodeInfo>& nodes, std::ostream& out) {
  std::vector<std::vector<std::string>> rows = {{"name", "type", "output", "parameters", "MACs", "bits w/a"}};
  int64_t parameters = 0, macs = 0;
  for (const NodeInfo& node : nodes) {
    parameters += node.parameters;
    macs += node.macs;
    rows.push_back({node.name, node.type, concat_text(node.output), std::to_string(node.parameters),
                    std::to_string(node.macs), bits_text(node)});
  }
  rows.push_back(
      {"total", std::to_string(nodes.size()) + " layers", "", std::to_string(parameters), std::to_string(macs), ""});
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      line += (i >= 3 ? space + row[i] : row[i] + space) + "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << "\n";
  }
}

Json table_json(const std::vector<NodeInfo>& nodes) {
  Json layers = Json::array();
  int64_t parameters = 0, macs = 0;
  for (const NodeInfo& node : nodes) {
    parameters += node.parameters;
    macs += node.macs;
    layers.push_back({{"name", node.name},
                      {"type", node.type},
                      {"inputs", node.inputs},
                      {"output", std::vector<int64_t>(node.output.begin(), node.output.end())},
                      {"parameters", node.parameters},
                      {"macs", node.macs},
                      {"weight_bits", node.weight_bits},
                      {"activation_bits", node.activation_bits}});
  }
  return {{"layers", layers}, {"parameters", parameters}, {"macs", macs}};
}

int run_inspect(const Arguments& args, Console& console) {
  const auto nodes = describe(graph_of(args.positional()[0], args.all("--set")));
  if (args.has("--json")) {
    console.out << json_text(table_json(nodes));
  } else {
    print_table(nodes, console.out);
  }
  return 0;
}

}  // namespace

Command inspect_command() {
  CommandSpec spec;
  spec.name = "inspect";
  spec.arguments = "CONFIG_OR_CHECKPOINT";
  spec.min_arguments = spec.max_arguments = 1;
  spec.doc =
      "print a network's layers: name, type, output shape, parameters, multiply-accumulates, bits.\n"
      "Shapes and counts are those of one image. Bits are those of the weight and of the output; 32 is float.";
  spec.options = {option::set(), option::json()};
  return {spec, run_inspect};
}

}  // namespace nibble
