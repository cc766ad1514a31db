#include <chrono>
#include <ostream>

#include "apps/commands/commands.h"
#include "apps/evidence/study.h"
#include "apps/machine.h"
#include "core/file.h"

namespace nibble {

namespace {

const Study& find_study(const std::string& name) {
  std::vector<std::string> names;
  std::string list;
  for (const Study& study : studies()) {
    if (study.name == name) return study;
    names.push_back(study.name);
    list += (list.empty() ? "" : ", ") + study.name;
  }
  const auto guess = closest(name, names);
  throw UsageError("evidence: unknown study '" + name + "'" + (guess ? ", did you mean '" + *guess + "'?" : "") +
                   " (known: " + list + ")");
}

/// What rebuilds the result.
std::string command_line(const Study& study, const StudyRequest& request) {
  std::string text = "nibble evidence " + study.name;
  if (!request.init.empty()) text += " --init " + request.init;
  if (!request.data_text.empty()) text += " --data '" + request.data_text + "'";
  return text + concat_text(" --steps ", request.steps, " --bits ", request.bits, " --seed ", request.seed);
}

int run_evidence(const Arguments& args, Console& console) {
  apply_threads(args);
  const Study& study = find_study(args.positional()[0]);
  StudyRequest request;
  request.init = args.text("--init");
  request.data_text = args.text("--data");
  request.steps = args.integer("--steps", study.steps, 2, 1'000'000);
  request.bits = static_cast<int>(args.integer("--bits", study.bits, study.least_bits, 8));
  request.seed = static_cast<uint64_t>(args.integer("--seed", 1, 0, int64_t{1} << 62));
  if (study.start == Study::Start::checkpoint && request.init.empty())
    throw UsageError("evidence: " + study.name + " starts from a trained network; give its checkpoint with --init");
  if (study.start == Study::Start::random && !request.init.empty())
    throw UsageError("evidence: " + study.name + " starts from random parameters and takes no --init");

  const auto begin = std::chrono::steady_clock::now();
  Progress progress(console);
  Json json = {{"study", study.name},  {"claim", study.claim},
               {"setup", study.setup}, {"steps", request.steps},
               {"bits", request.bits}, {"seed", request.seed},
               {"init", request.init}, {"command", command_line(study, request)}};
  json.update(study.run(request, progress));
  progress.clear();
  json["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  json["machine"] = machine_info();
  json["machine_line"] = machine_line(json["machine"]);
  const std::string text = args.has("--json") ? json_text(json) : study_markdown(json);
  if (args.has("--out"))
    write_file_atomically(args.text("--out"), text);
  else
    console.out << text;
  return 0;
}

}  // namespace

Command evidence_command() {
  CommandSpec spec;
  spec.name = "evidence";
  spec.arguments = "STUDY";
  spec.min_arguments = spec.max_arguments = 1;
  spec.doc =
      "show on real training steps what a paper claims.\n"
      "Each takes 2 to 4 minutes on two cores with its default number of steps, on CIFAR-10 unless --data says "
      "otherwise. Prints a section of Markdown; the JSON key \"holds\" says whether the claim showed. Studies:\n";
  for (const Study& study : studies()) spec.doc += "  " + study.name + ": " + study.claim + "\n";
  spec.doc.pop_back();
  spec.options = {{"--init", "CHECKPOINT",
                   "trained float network to start from: lsq-ratio needs one, affine-delay takes none", "", false},
                  option::data(),
                  {"--steps", "N", "training steps of each run", "", false},
                  {"--bits", "N", "width of weights and activations", "", false},
                  {"--seed", "N", "of parameters, order of the images and augmentation; 1", "", false},
                  {"--out", "FILE", "write the result there instead of printing it", "", false},
                  option::threads(),
                  option::json()};
  return {spec, run_evidence};
}

}  // namespace nibble
