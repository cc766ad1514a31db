#include <filesystem>
#include <ostream>

#include "apps/commands/commands.h"
#include "apps/interrupt.h"
#include "apps/machine.h"
#include "apps/trainer.h"

namespace nibble {
namespace {

/// The config to train, and the folder to train it into.
struct Job {
  RunConfig config;
  RunDirectory run;
};

Job choose_job(const Arguments& args) {
  const std::vector<std::string> assignments = args.all("--set");
  std::error_code ignored;
  std::string source = args.positional().empty() ? "" : args.positional()[0];
  std::string folder = args.text("--out");
  if (source.empty() || std::filesystem::is_directory(source, ignored)) {
    if (!args.has("--resume"))
      throw UsageError(source.empty()
                           ? "nibble train: expected CONFIG (see nibble train --help)"
                           : "nibble train: '" + source + "' is a folder; to go on with the run in it, add --resume");
    if (source.empty()) source = folder;
    if (folder.empty()) folder = source;
    if (source.empty()) throw UsageError("nibble train: --resume expects CONFIG, a run's folder, or --out DIR");
    const RunDirectory run{source};
    if (!run.has_config()) throw UsageError("nibble train: '" + source + "' holds no run: there is no " + run.config());
    return {load_run_config(run.config(), assignments), {folder}};
  }
  RunConfig config = load_run_config(source, assignments);
  if (folder.empty()) folder = "runs/" + config.name;
  return {std::move(config), {folder}};
}

void print_results(const Json& results, std::ostream& out) {
  const auto row = [&out](std::string name, const std::string& value) {
    name.resize(14, ' ');
    out << name << value << "\n";
  };
  const auto number = [&results](const char* key, int digits) {
    char text[48];
    std::snprintf(text, sizeof text, "%.*f", digits, results.at(key).get<double>());
    return std::string(text);
  };
  row("model", results.at("model").get<std::string>() + ", " + number("parameters", 0) + " parameters");
  row("top-1", number("top1", 2) + " % (" + number("correct", 0) + " of " + number("total", 0) + ")");
  row("top-5", number("top5", 2) + " %");
  row("loss", number("loss", 4));
  row("best top-1", number("best_top1", 2) + " % (epoch " + number("best_epoch", 0) + ")");
  row("time", duration_text(results.at("seconds").get<double>()));
  row("run", results.at("run").get<std::string>());
}

int run_train(const Arguments& args, Console& console) {
  const InterruptGuard guard;
  Job job = choose_job(args);
  apply_threads(args);
  if (args.has("--threads")) job.config.train.threads = static_cast<int>(args.integer("--threads", 1, 1, 4096));
  Progress progress(console);
  TrainRequest request{job.config, job.run, args.has("--resume"), [](int64_t) { return interrupted(); }};
  Trainer trainer(request, progress);
  const Json machine = machine_info();
  progress.line("training '" + job.config.name + "' into " + job.run.path + " on " + machine_line(machine));
  const auto warning = machine.at("blas").at("warning").get<std::string>();
  if (!warning.empty()) progress.line("warning: " + warning);

  const TrainOutcome outcome = trainer.run();
  if (outcome.interrupted) {
    progress.line(concat_text("interrupted at step ", outcome.step, "; saved ", job.run.last()));
    progress.line("go on with: nibble train " + job.run.path + " --resume");
    return kInterruptedExit;
  }
  if (args.has("--json")) {
    console.out << json_text(outcome.results);
  } else {
    print_results(outcome.results, console.out);
  }
  return 0;
}

}  // namespace

Command train_command() {
  CommandSpec spec;
  spec.name = "train";
  spec.arguments = "CONFIG";
  spec.max_arguments = 1;
  spec.doc =
      "train a network as a config says.\n"
      "Writes a run folder: config.json (all defaults filled in), run.json (machine, version, seed), metrics.jsonl,\n"
      "TensorBoard events, last.safetensors, best.safetensors and results.json. Ctrl-C saves and stops.";
  spec.options = {
      option::set(),
      {"--out", "DIR", "folder of the run; by default runs/NAME", "", false},
      {"--resume", "", "go on with the run in that folder; CONFIG may then be the folder itself", "", false},
      option::threads(),
      option::json()};
  return {spec, run_train};
}

}  // namespace nibble
