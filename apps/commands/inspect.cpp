#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <ostream>

#include "apps/commands/commands.h"
#include "apps/run_config.h"
#include "apps/run_directory.h"
#include "apps/run_parts.h"
#include "apps/table.h"
#include "core/parallel.h"
#include "layers/checkpoint.h"
#include "layers/describe.h"
#include "layers/model.h"
#include "quant/lowered_facts.h"
#include "quant/policy.h"

namespace nibble {
namespace {

bool is_config(const std::string& path) { return std::filesystem::path(path).extension() == ".json"; }

/// A config's network with random weights and the quantizers of its rules.
Graph graph_of_config(const std::string& path, const std::vector<std::string>& assignments) {
  Config config = load_config(path);
  for (const std::string& assignment : assignments) set_option(config, assignment);
  // A config file may also hold a network alone.
  RunConfig run;
  if (config.contains("type")) {
    run.model = config;
  } else {
    run = read_run_config(config);
  }
  Graph graph = build_model(run.model);
  graph.initialize(run.seed);
  if (!run.quant.json.is_null()) graph = quantize(graph, run.quant);
  output_shape(graph, run.model);
  return graph;
}

Graph graph_of(const std::string& path, const std::vector<std::string>& assignments) {
  if (is_config(path)) return graph_of_config(path, assignments);
  if (!assignments.empty()) throw UsageError("nibble inspect: --set changes configs, and '" + path + "' is none");
  return load_checkpoint(find_checkpoint(path)).graph;
}

struct Totals {
  int64_t parameters = 0, macs = 0, size_bits = 0, float_bits = 0;
  explicit Totals(const std::vector<NodeInfo>& nodes) {
    for (const NodeInfo& node : nodes) {
      parameters += node.parameters;
      macs += node.macs;
      size_bits += node.size_bits;
      float_bits += node.float_bits;
    }
  }
  static int64_t bytes(int64_t bits) { return (bits + 7) / 8; }
  double ratio() const {
    return size_bits > 0 ? static_cast<double>(float_bits) / static_cast<double>(size_bits) : 1.0;
  }
};

std::string bits_text(const NodeInfo& node) {
  const std::string activation = std::to_string(node.activation_bits);
  return node.weight_bits == 0 ? activation : std::to_string(node.weight_bits) + "/" + activation;
}

/// "lsq", "twn per channel", "-"; a packed weight's is in brackets.
std::string weight_text(const NodeInfo& node) {
  const Json& quantizer = node.weight_quantizer;
  if (quantizer.is_null()) return "-";
  std::string text = quantizer["type"].get<std::string>();
  if (const auto source = quantizer.find("source"); source != quantizer.end() && source->is_object())
    text = "[" + source->value("type", "?") + "]";
  return text + (node.per_channel ? " per channel" : "");
}

std::string input_text(const NodeInfo& node) {
  return node.weight_bits == 0 || node.input_quantizer.is_null() ? "-"
                                                                 : node.input_quantizer["type"].get<std::string>();
}

void print_table(const std::vector<NodeInfo>& nodes, std::ostream& out) {
  const bool quantized = std::ranges::any_of(
      nodes, [](const NodeInfo& node) { return node.weight_bits % 32 != 0 || node.activation_bits != 32; });
  std::vector<std::string> head = {"name", "type", "output", "parameters", "MACs", "bits w/a"};
  if (quantized) head.insert(head.end(), {"size in bits", "weight", "input"});
  Table table(head, {3, 4, 5, 6});
  const auto add = [&](std::vector<std::string> row, const std::vector<std::string>& more) {
    if (quantized) row.insert(row.end(), more.begin(), more.end());
    table.add(std::move(row));
  };
  for (const NodeInfo& node : nodes) {
    const bool weighted = node.weight_bits != 0;
    add({node.name, node.type, concat_text(node.output), std::to_string(node.parameters), std::to_string(node.macs),
         bits_text(node)},
        {std::to_string(node.size_bits), weighted ? weight_text(node) : "", weighted ? input_text(node) : ""});
  }
  const Totals total(nodes);
  add({"total", std::to_string(nodes.size()) + " layers", "", std::to_string(total.parameters),
       std::to_string(total.macs), ""},
      {std::to_string(total.size_bits), "", ""});
  table.print(out);
  char ratio[32];
  std::snprintf(ratio, sizeof ratio, "%.2f", total.ratio());
  out << "size: " << total.size_bits << " bits, " << Totals::bytes(total.size_bits) << " bytes";
  if (quantized) out << "; in float " << Totals::bytes(total.float_bits) << " bytes, " << ratio << " times as many";
  out << "\n";
}

Json table_json(const std::vector<NodeInfo>& nodes) {
  Json layers = Json::array();
  for (const NodeInfo& node : nodes) {
    layers.push_back({{"name", node.name},
                      {"type", node.type},
                      {"inputs", node.inputs},
                      {"output", std::vector<int64_t>(node.output.begin(), node.output.end())},
                      {"parameters", node.parameters},
                      {"macs", node.macs},
                      {"weights", node.weights},
                      {"weight_bits", node.weight_bits},
                      {"activation_bits", node.activation_bits},
                      {"weight_quantizer", node.weight_quantizer},
                      {"weight_per_channel", node.per_channel},
                      {"input_quantizer", node.input_quantizer},
                      {"size_bits", node.size_bits},
                      {"float_bits", node.float_bits}});
  }
  const Totals total(nodes);
  return {{"layers", layers},
          {"parameters", total.parameters},
          {"macs", total.macs},
          {"size_bits", total.size_bits},
          {"size_bytes", Totals::bytes(total.size_bits)},
          {"float_bytes", Totals::bytes(total.float_bits)},
          {"ratio", total.ratio()}};
}

int run_inspect(const Arguments& args, Console& console) {
  const Graph graph = graph_of(args.positional()[0], args.all("--set"));
  std::vector<NodeInfo> nodes = describe(graph);
  describe_lowered(graph, nodes);
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
      "print a network's layers: name, type, output shape, parameters, multiply-accumulates, bits, quantizers, size.\n"
      "Shapes and counts are those of one image. Bits are those of the weight and of the output; 32 is float. Of a\n"
      "quantized network also what each weight and each input of a layer passes through. Size: weights at their bits;\n"
      "the numbers that describe their levels, biases and all else at 32 bits. A config is shown with its rules.";
  spec.options = {option::set(), option::json()};
  return {spec, run_inspect};
}

}  // namespace nibble
