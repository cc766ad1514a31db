#include <ostream>
#include <sstream>

#include "apps/commands/commands.h"
#include "apps/run_parts.h"
#include "apps/trained_model.h"
#include "layers/model.h"

namespace nibble {
namespace {

/// A "model" section given as JSON text, as a file that holds one, or as a whole config.
Config read_model(const std::string& text, const std::vector<std::string>& assignments) {
  Config config = !text.empty() && text[0] == '{' ? parse_config(text, "--model") : load_config(text);
  for (const std::string& assignment : assignments) set_option(config, assignment);
  return config.contains("model") ? config.at("model") : config;
}

/// "0.485,0.456,0.406"
Json parse_triple(const std::string& text, const std::string& what) {
  std::istringstream in(text);
  Json list = Json::array();
  for (std::string part; std::getline(in, part, ',');) {
    const Json number = Json::parse(part, nullptr, false);
    NIBBLE_CHECK(number.is_number(), what, " expects numbers separated by commas, found '", text, "'");
    list.push_back(number);
  }
  NIBBLE_CHECK(list.size() == 3, what, " expects three numbers, found '", text, "'");
  return list;
}

/// CIFAR-10 normalised as the weights' file says, changed by --data.
Config data_for(const TensorFile& weights, const std::string& path, const std::string& override_text,
                Console& console) {
  Json data = {{"type", "cifar10"}};
  const auto take = [&](const char* from, const char* to) {
    const auto found = weights.metadata.find(from);
    if (found == weights.metadata.end()) return false;
    data[to] = parse_triple(found->second, path + ": metadata '" + from + "'");
    return true;
  };
  const bool mean = take("normalization_mean", "mean");
  const bool std = take("normalization_std", "std");
  if (!(mean && std) && override_text.empty())
    console.err << "note: " << path << " does not say how its images were normalised; using the defaults of '"
                << data["type"].get<std::string>() << "' (--data '{\"mean\": [...], \"std\": [...]}' says otherwise)"
                << std::endl;
  const Config config(Json{{"data", data}}, path);
  return override_text.empty() ? config.at("data") : choose_data(config, override_text);
}

int run_import(const Arguments& args, Console& console) {
  const std::string path = args.positional()[0];
  const std::string out = args.text("--out");
  if (!args.has("--model") || out.empty()) throw UsageError("nibble import: --model and --out must be given");
  const Config model = read_model(args.text("--model"), args.all("--set"));
  const Graph graph = build_model(model);
  const Shape output = output_shape(graph, model);
  const TensorFile weights = read_safetensors(path);
  import_state(graph, weights, path);

  const Config section = data_for(weights, path, args.text("--data"), console);
  const auto source = build_source(section);
  check_fits(graph, *source, section);
  Json data = {{"type", section.type()}};
  data.update(source->config());
  save_checkpoint(out, graph, {{"model", model.json}, {"data", data}});
  const size_t tensors = state_of(graph).size();
  if (args.has("--json")) {
    console.out << json_text({{"checkpoint", out}, {"tensors", tensors}, {"classes", output[1]}});
  } else {
    console.out << "wrote " << out << ": " << model.type() << ", " << tensors << " tensors\n";
  }
  return 0;
}

}  // namespace

Command import_command() {
  CommandSpec spec;
  spec.name = "import";
  spec.arguments = "WEIGHTS.safetensors";
  spec.min_arguments = spec.max_arguments = 1;
  spec.doc =
      "turn weights trained with PyTorch into a checkpoint.\n"
      "Names of PyTorch projects are mapped, batch-norm statistics included. The data section is CIFAR-10, normalised\n"
      "as the file's metadata says (normalization_mean, normalization_std).";
  spec.options = {
      {"--model", "JSON_OR_FILE", "the network: {\"type\": \"resnet20\", \"shortcut\": \"A\"}, or a config", "", false},
      {"--out", "CHECKPOINT", "the file to write", "-o", false},
      option::data(),
      option::set(),
      option::json()};
  return {spec, run_import};
}

}  // namespace nibble
