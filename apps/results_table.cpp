#include "apps/results_table.h"

#include <cstdio>
#include <filesystem>
#include <set>
#include <vector>

#include "core/config.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"

namespace nibble {
namespace {

using nlohmann::literals::operator""_json_pointer;

Json read_record(const std::string& path) {
  try {
    return Json::parse(read_text_file(path));
  } catch (const Json::parse_error& error) {
    throw Error("'" + path + "': " + error.what());
  }
}

/// A value that a record must have; `pointer` like "/optim/lr".
template <typename T>
T need(const Json& record, const std::string& path, const std::string& pointer) {
  const Json::json_pointer place(pointer);
  NIBBLE_CHECK(record.contains(place), "'", path, "' has no ", pointer);
  try {
    return record.at(place).get<T>();
  } catch (const Json::type_error& error) {
    throw Error("'" + path + "' at " + pointer + ": " + error.what());
  }
}

std::string number(double value, const char* format) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

/// "lsq 2", or "float".
std::string method_text(const Json& quantizer) {
  if (!quantizer.is_object()) return "float";
  std::string text = quantizer.value("type", "?");
  if (quantizer.contains("bits")) text += " " + quantizer["bits"].dump();
  if (quantizer.contains("levels") && quantizer["levels"].is_string())
    text += " " + quantizer["levels"].get<std::string>();
  if (quantizer.value("per_channel", false) && text.rfind("affine", 0) == 0) text += " per channel";
  return text;
}

/// What the last rule, the one for all other layers, puts on one side ("weight", "act").
std::string side_text(const Json& config, const char* side) {
  if (!config.contains("quant") || !config["quant"].is_array() || config["quant"].empty()) return "float";
  const Json& rule = config["quant"].back();
  return rule.contains(side) ? method_text(rule[side]) : "float";
}

struct Row {
  std::string name, weights = "–", activations = "–", epochs = "–", rate = "–", top1, bar = "–", minutes = "–",
                    seed = "–", commit = "–", command;
  Json machine;
};

/// The machine without what differs between builds and runs.
std::string machine_text(const Json& machine) {
  return machine.value("processor", "unknown processor") + ", " + machine.value("system", "unknown system") + ", " +
         std::to_string(machine.value("cores", 0)) + " cores, " + machine.value("compiler", "unknown compiler");
}

void add_training(Row& row, const std::string& folder) {
  const std::string config_path = folder + "/config.json", results_path = folder + "/results.json";
  const Json config = read_record(config_path), results = read_record(results_path);
  row.weights = side_text(config, "weight");
  row.activations = side_text(config, "act");
  row.epochs = std::to_string(need<int>(config, config_path, "/train/epochs"));
  row.rate = number(need<double>(config, config_path, "/optim/lr"), "%g");
  row.minutes = number(need<double>(results, results_path, "/seconds") / 60, "%.1f");
  row.seed = std::to_string(need<int64_t>(config, config_path, "/seed"));
  row.machine = need<Json>(results, results_path, "/machine");
  row.commit = row.machine.value("commit", "?");
  const int threads = row.machine.value("threads", 1);
  row.command = "nibble train " + config_path;
  if (!need<std::string>(config, config_path, "/train/init").empty()) row.command += " --set /train/init=CHECKPOINT";
  row.command += " --threads " + std::to_string(threads) + " --out RUN";
  if (config.contains("/loss/teacher/checkpoint"_json_pointer))
    row.command += " --set /loss/teacher/checkpoint=CHECKPOINT";
}

Row read_row(const Json& entry, const std::string& table, const std::string& folder) {
  Row row;
  row.name = need<std::string>(entry, table, "/run");
  const std::string path = folder + "/" + row.name, results_path = path + "/results.json";
  const Json results = read_record(results_path);
  row.top1 = number(need<double>(results, results_path, "/top1"), "%.2f");
  if (std::filesystem::exists(path + "/config.json")) {
    add_training(row, path);
  } else {
    row.command = need<std::string>(entry, table, "/command");
    row.weights = entry.value("weights", row.weights);
    row.activations = entry.value("activations", row.activations);
    row.epochs = "0";
  }
  if (entry.contains("bar")) {
    const double bar = need<double>(entry, table, "/bar");
    const bool met = need<double>(results, results_path, "/top1") >= bar;
    row.bar = number(bar, "%.1f") + (met ? "" : " (missed)");
  }
  return row;
}

void add_line(std::string& text, const std::vector<std::string>& cells) {
  text += "|";
  for (const std::string& cell : cells) text += " " + cell + " |";
  text += "\n";
}

}  // namespace

std::string results_table(const std::string& folder) {
  const std::string table = folder + "/table.json";
  const Json plan = read_record(table);
  std::vector<Row> rows;
  for (const Json& entry : need<std::vector<Json>>(plan, table, "/rows"))
    rows.push_back(read_row(entry, table, folder));

  std::string text = "# " + need<std::string>(plan, table, "/title") + "\n\n";
  text += "Made by `nibble results " + folder + "` from the records of the runs in that folder; do not edit.\n";
  for (const auto& note : need<std::vector<std::string>>(plan, table, "/notes")) text += "\n" + note + "\n";
  text += "\n";
  add_line(text, {"run", "weights", "activations", "epochs", "rate", "top-1 %", "bar", "minutes", "seed", "commit"});
  text += "|---|---|---|---|---|---|---|---|---|---|\n";
  std::set<std::string> machines;
  for (const Row& row : rows) {
    add_line(text, {row.name, row.weights, row.activations, row.epochs, row.rate, row.top1, row.bar, row.minutes,
                    row.seed, row.commit});
    if (!row.machine.is_null()) machines.insert(machine_text(row.machine));
  }
  for (const std::string& machine : machines) text += "\nMachine: " + machine + ".\n";
  text += "\nCommands, in the order of the rows:\n\n```\n";
  for (const Row& row : rows) text += row.command + "\n";
  return text + "```\n";
}

}  // namespace nibble
