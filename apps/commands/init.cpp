#include <ostream>

#include "apps/commands/commands.h"
#include "apps/run_parts.h"
#include "layers/checkpoint.h"
#include "layers/describe.h"
#include "layers/model.h"

namespace nibble {
namespace {

/// What the command reads of a config that is no whole training config.
struct InitConfig {
  std::string name, notes;
  uint64_t seed = 1;
  Config model{Json()}, data{Json()}, quant{Json()};
  void fields(Fields& f) {
    f("name", name, "for the reader");
    f("notes", notes, "for the reader");
    f("seed", seed, "seed of the weights");
    f.required().raw("model", model, "model", "the network");
    f.raw("data", data, "data source or null", "the images it is for");
    f.raw("quant", quant, "list of rules or null", "not used: nibble quantize does that");
  }
};

InitConfig read_init_config(const Arguments& args) {
  Config config = load_config(args.positional()[0]);
  for (const std::string& assignment : args.all("--set")) set_option(config, assignment);
  if (!config.contains("optim")) return read_options<InitConfig>(config, {});
  const RunConfig run = read_run_config(config);
  InitConfig result;
  result.name = run.name;
  result.seed = run.seed;
  result.model = run.model;
  result.data = run.data;
  return result;
}

int run_init(const Arguments& args, Console& console) {
  const std::string out = args.text("--out");
  if (out.empty()) throw UsageError("nibble init: --out must be given, the checkpoint to write");
  const InitConfig config = read_init_config(args);
  const Graph graph = build_model(config.model);
  const Shape output = output_shape(graph, config.model);
  graph.initialize(config.seed);
  Json json = {{"model", config.model.json}, {"seed", config.seed}};
  if (!config.name.empty()) json["name"] = config.name;
  if (!config.data.json.is_null()) {
    // Its images need not be here, so whether they fit the network is for the command that reads them to say.
    json["data"] = {{"type", config.data.type()}};
    json["data"].update(build_source(config.data)->config());
  }
  save_checkpoint(out, graph, json);
  int64_t parameters = 0, macs = 0;
  for (const NodeInfo& node : describe(graph)) {
    parameters += node.parameters;
    macs += node.macs;
  }
  if (args.has("--json")) {
    console.out << json_text({{"checkpoint", out}, {"parameters", parameters}, {"macs", macs}, {"seed", config.seed}});
  } else {
    console.out << "wrote " << out << ": " << config.model.type() << " with random weights of seed " << config.seed
                << ", output " << output << ", " << parameters << " parameters, " << macs << " multiply-adds\n";
  }
  return 0;
}

}  // namespace

Command init_command() {
  CommandSpec spec;
  spec.name = "init";
  spec.arguments = "CONFIG";
  spec.min_arguments = spec.max_arguments = 1;
  spec.doc =
      "write a network with random weights, without training it.\n"
      "CONFIG is a training config, or an object with \"model\" and, if wanted, \"seed\" and \"data\". The checkpoint "
      "holds\n"
      "the weights with which nibble train CONFIG would begin, in float: quantizers come from nibble quantize, which\n"
      "calibrates them on noise where there are no images (--noise). That is enough to measure how fast a network\n"
      "is: nibble init, quantize --noise, lower, bench.";
  spec.options = {{"--out", "CHECKPOINT", "the file to write", "-o", false}, option::set(), option::json()};
  return {spec, run_init};
}

}  // namespace nibble
