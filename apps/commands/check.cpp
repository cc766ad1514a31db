#include <ostream>

#include "apps/commands/commands.h"
#include "apps/run_parts.h"
#include "layers/describe.h"

namespace nibble {
namespace {

Json check_one(const std::string& path, const std::vector<std::string>& assignments) {
  const RunConfig config = load_run_config(path, assignments);
  const RunParts parts = build_parts(config);
  // Patterns of parameter names are only known to match when there are parameters.
  attach_optimizer(parts, config);
  Json json = {{"config", path},
               {"name", config.name},
               {"model", config.model.type()},
               {"data", config.data.type()},
               {"optim", config.optim.type()},
               {"epochs", config.train.epochs}};
  int64_t parameters = 0, macs = 0;
  for (const NodeInfo& node : describe(parts.graph)) {
    parameters += node.parameters;
    macs += node.macs;
  }
  json["parameters"] = parameters;
  json["macs"] = macs;
  return json;
}

int run_check(const Arguments& args, Console& console) {
  Json list = Json::array();
  bool all_good = true;
  for (const std::string& path : args.positional()) {
    try {
      const Json one = check_one(path, args.all("--set"));
      list.push_back(one);
      if (args.has("--json")) continue;
      console.out << "OK " << path << ": " << one["model"].get<std::string>() << " ("
                  << one["parameters"].get<int64_t>() << " parameters, " << one["macs"].get<int64_t>() << " MACs), "
                  << one["data"].get<std::string>() << ", " << one["optim"].get<std::string>() << ", "
                  << one["epochs"].get<int>() << " epochs\n";
    } catch (const Error& error) {
      all_good = false;
      list.push_back({{"config", path}, {"error", error.what()}});
      console.err << "nibble: " << error.what() << std::endl;
    }
  }
  if (args.has("--json")) console.out << json_text(list);
  return all_good ? 0 : kBadUsage;
}

}  // namespace

Command check_command() {
  CommandSpec spec;
  spec.name = "check";
  spec.arguments = "CONFIG...";
  spec.min_arguments = 1;
  spec.max_arguments = 10000;
  spec.doc =
      "check configs without training.\n"
      "Builds the network, data section, optimizer and schedule and sends a blank image through; reads no images.";
  spec.options = {option::set(), option::json()};
  return {spec, run_check};
}

}  // namespace nibble
