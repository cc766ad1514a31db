#include <cstdio>
#include <filesystem>
#include <map>
#include <ostream>

#include "apps/commands/commands.h"
#include "apps/engine_times.h"
#include "apps/run_directory.h"
#include "apps/run_parts.h"
#include "apps/trained_model.h"
#include "quant/lowering/lower.h"

namespace nibble {
namespace {

std::string joined(const std::vector<std::string>& items, const char* between) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : between) + item;
  return text;
}

/// How many nodes became what.
std::map<std::string, int64_t> counted(const Lowered& lowered) {
  std::map<std::string, int64_t> counts;
  for (const Decision& d : lowered.report) {
    if (d.became.rfind("the edge", 0) != 0) ++counts[d.became];
  }
  return counts;
}

/// How many gemms have which engine.
std::map<std::string, int64_t> engine_counts(const Lowered& lowered) {
  std::map<std::string, int64_t> counts;
  for (const Decision& d : lowered.report) {
    if (!d.engine.empty()) ++counts[d.engine];
  }
  return counts;
}

/// ", fastest of int8 12.3 us, float 45.6 us", or "" if nothing was measured.
std::string timings(const Decision& decision) {
  std::string text;
  for (const EngineTime& time : decision.times) {
    char part[60];
    std::snprintf(part, sizeof part, "%s %.1f us", time.engine.c_str(), 1e6 * time.seconds);
    text += (text.empty() ? ", fastest of " : ", ") + std::string(part);
  }
  return text;
}

void explain(const Lowered& lowered, std::ostream& out) {
  for (const Decision& d : lowered.report) {
    out << d.node << ": " << d.became;
    if (d.absorbed.size() > 1) out << " for " << joined(d.absorbed, " + ");
    out << "\n";
    if (!d.engine.empty()) out << "    engine " << d.engine << timings(d) << "\n";
    for (const std::string& why : d.refusals) out << "    " << why << "\n";
  }
}

Json report_json(const Lowered& lowered) {
  Json nodes = Json::array();
  for (const Decision& d : lowered.report) {
    Json node{{"node", d.node}, {"became", d.became}, {"absorbed", d.absorbed}, {"refusals", d.refusals}};
    if (!d.engine.empty()) node["engine"] = d.engine;
    for (const EngineTime& time : d.times) node["seconds"][time.engine] = time.seconds;
    nodes.push_back(node);
  }
  return {{"epilogue", lowered.epilogue},
          {"counts", counted(lowered)},
          {"engines", engine_counts(lowered)},
          {"nodes", nodes}};
}

int run_lower(const Arguments& args, Console& console) {
  const std::string out = args.text("--out");
  const bool explains = args.has("--explain");
  if (out.empty() && !explains)
    throw UsageError("nibble lower: --out must be given, the file to write (or --explain to only look)");
  apply_threads(args);
  const Config policy({{"epilogue", args.text("--epilogue", "auto")}, {"engine", args.text("--engine", "auto")}},
                      "nibble lower: options");
  const TrainedModel model = load_trained(find_checkpoint(args.positional()[0], args.has("--best")));
  CachedClock clock;
  const Lowered lowered = lower(model.graph, read_options<LowerOptions>(policy, {}), &clock);
  if (const std::string why = clock.save(); !why.empty())
    console.err << "the measured times of engines were not kept: " << why << "\n";
  Json report = report_json(lowered);
  if (!out.empty()) {
    Json config = model.config.json;
    config["lowered"] = {{"epilogue", lowered.epilogue}};
    save_checkpoint(out, lowered.graph, config);
    report["model"] = out;
    report["bytes"] = std::filesystem::file_size(out);
  }
  if (args.has("--json")) {
    console.out << json_text(report);
    return 0;
  }
  if (explains) explain(lowered, console.out);
  console.out << "epilogue: "
              << (lowered.epilogue == "fixed" ? "fixed-point multipliers, as in gemmlowp"
                                              : "single-precision multiplication, half to even")
              << "\nnodes:   ";
  for (const auto& [became, count] : counted(lowered)) console.out << " " << count << " " << became;
  console.out << "\nengines: ";
  for (const auto& [engine, count] : engine_counts(lowered)) console.out << " " << count << " " << engine;
  console.out << "\n";
  if (!out.empty())
    console.out << "wrote " << out << ": " << report["bytes"] << " bytes; " << model.path << " has "
                << std::filesystem::file_size(model.path) << "\n";
  return 0;
}

}  // namespace

Command lower_command() {
  CommandSpec spec;
  spec.name = "lower";
  spec.arguments = "RUN_OR_CHECKPOINT";
  spec.min_arguments = spec.max_arguments = 1;
  spec.doc =
      "write a quantized network as one that computes on integers.\n"
      "Convolutions and linear layers whose weight and input lie on uniform grids become integer modules together "
      "with\n"
      "the bias, batch norm, activation and quantizer behind them; sums, joined channels and pooling likewise. What\n"
      "stays in float is named. The file is for nibble eval, predict, inspect and verify; it cannot be trained on.";
  spec.options = {{"--out", "FILE", "the file to write", "-o", false},
                  {"--explain", "",
                   "print for every node what it became, what it absorbed, and what stood against more", "", false},
                  {"--epilogue", "KIND",
                   "fixed (fixed-point multipliers), float (one single-precision multiplication), or auto: what the "
                   "network's quantizers suggest",
                   "", false},
                  {"--engine", "NAME",
                   "what computes convolutions and linear layers: int8, float, or auto (the default): the fastest on "
                   "this machine, by measurements that are kept in a file; all give the same bits",
                   "", false},
                  {"--best", "", "the run's best checkpoint instead of the last", "", false},
                  option::threads(),
                  option::json()};
  return {spec, run_lower};
}

}  // namespace nibble
