#include <algorithm>
#include <iterator>
#include <ostream>

#include "apps/audit_file.h"
#include "apps/commands/commands.h"
#include "apps/run_directory.h"
#include "apps/trained_model.h"
#include "quant/audit.h"
#include "quant/lowered_facts.h"

namespace nibble {
namespace {

std::string text_of(const AuditLine& line) {
  const std::string name = line.node + ": " + line.role + ", " + line.method;
  if (line.complaints.empty()) {
    std::string text = "ok   " + name;
    if (line.levels == 0) return text + ", real values in evaluation";
    text += concat_text(", ", line.bits, line.bits == 1 ? " bit, " : " bits, ", line.levels, " levels");
    return line.elements > 0 ? text + concat_text(", ", line.used, " of them used by ", line.elements, " weights")
                             : text;
  }
  std::string text;
  for (const std::string& complaint : line.complaints)
    text += (text.empty() ? "" : "\n") + concat_text("FAIL ", name, ": ", complaint);
  return text;
}

Json json_of(const AuditLine& line) {
  return {{"name", line.node},
          {"role", line.role},
          {"type", line.method},
          {"ok", line.complaints.empty()},
          {"bits", line.bits},
          {"levels", line.levels},
          {"levels_used", line.used},
          {"weights", line.elements},
          {"complaints", line.complaints}};
}

struct Report {
  std::vector<AuditLine> lines;
  FileAudit file;
  bool ok() const {
    for (const AuditLine& line : lines)
      if (!line.complaints.empty()) return false;
    return file.complaints.empty();
  }
};

/// A file that cannot be loaded is a finding, too.
Report audit_checkpoint(const std::string& path) {
  Report report;
  try {
    const TrainedModel model = load_trained(path);
    report.lines = audit(model.graph);
    std::ranges::move(audit_lowered(model.graph), std::back_inserter(report.lines));
    report.file = audit_file(path, model.graph);
    if (report.lines.empty()) report.file.complaints.emplace_back("expected a quantized network, found one in float");
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    report.file.complaints.emplace_back(error.what());
  }
  return report;
}

int run_audit(const Arguments& args, Console& console) {
  const std::string path = find_checkpoint(args.positional()[0], args.has("--best"));
  const Report report = audit_checkpoint(path);
  if (args.has("--json")) {
    Json layers = Json::array();
    for (const AuditLine& line : report.lines) layers.push_back(json_of(line));
    console.out << json_text(
        {{"checkpoint", path}, {"ok", report.ok()}, {"layers", layers}, {"file", report.file.json()}});
  } else {
    for (const AuditLine& line : report.lines) console.out << text_of(line) << "\n";
    console.out << report.file.text() << "\n";
  }
  return report.ok() ? 0 : kRuntimeFailure;
}

}  // namespace

Command audit_command() {
  CommandSpec spec;
  spec.name = "audit";
  spec.arguments = "RUN_OR_CHECKPOINT";
  spec.min_arguments = spec.max_arguments = 1;
  spec.doc =
      "check what its quantization methods promise of a finished network.\n"
      "One line per quantizer, beginning with \"ok\" or \"FAIL\", and one for the file. All: state and grid are finite "
      "and\n"
      "well formed, scales are positive, codes fit their bits, each weight is exactly a level of its channel. By "
      "method:\n"
      "ternary weights are -a, 0, a (elq: stored like that), inq weights 0 or signed powers of two, affine ranges "
      "hold\n"
      "0, learned steps and bases are positive and were set. The file is as long as its header and tensors say; of a\n"
      "packed or lowered one (nibble pack, nibble lower), weights take bits times count. Of a lowered network there is "
      "a\n"
      "line for each weight that is kept as codes, and for each layer that writes codes. Exit code 1 where something "
      "fails.";
  spec.options = {{"--best", "", "the run's best checkpoint instead of the last", "", false}, option::json()};
  return {spec, run_audit};
}

}  // namespace nibble
