#include <algorithm>
#include <cstdio>
#include <ostream>

#include "apps/commands/commands.h"
#include "apps/progress.h"
#include "apps/run_directory.h"
#include "apps/run_parts.h"
#include "apps/table.h"
#include "apps/trained_model.h"
#include "apps/verify_model.h"
#include "data/loader.h"
#include "quant/lowering/inject.h"
#include "quant/lowering/lower.h"

namespace nibble {
namespace {

std::string number(const char* format, double value) {
  char text[40];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

void print(const ModelParity& parity, std::ostream& out) {
  Table table(
      {"edge", "became", "values", "differ", "largest", "differ", "levels", "beyond", "relative", "differ in all"},
      {2, 3, 4, 5, 6, 7, 8, 9});
  for (const EdgeParity& e : parity.edges)
    table.add({e.node, e.type, std::to_string(e.values), e.coded ? std::to_string(e.codes.codes_differ) : "",
               number("%.1e", e.codes.max_abs), e.coded ? std::to_string(e.alone.codes_differ) : "",
               e.coded ? std::to_string(e.alone.max_code_gap) : "", e.coded ? number("%.4f", e.alone.excess) : "",
               number("%.1e", e.alone.relative), e.coded ? std::to_string(e.running.codes_differ) : ""});
  out << "                       against the checkpoint on codes | against the checkpoint in float, node by node\n";
  table.print(out);
  out << "top-1  " << number("%.2f", parity.trained.top1())
      << " % before lowering (computed in float: " << number("%.2f", parity.real.top1()) << " %), "
      << number("%.2f", parity.lowered.top1()) << " % after; both name the same class for " << parity.agree << " of "
      << parity.trained.total << " images\n";
}

/// Feeds the first images of the test split.
void measure(ModelParity& parity, const Graph& trained, const Graph& lowered, Loader& loader, int64_t images,
             Progress& progress) {
  const Graph on_codes = evaluated(trained, {.epilogue = parity.epilogue, .engine = "float"}).graph;
  progress.start("verify", std::min(images, loader.samples()));
  loader.start(0);
  for (Batch batch; parity.trained.total < images && loader.next(batch);) {
    add_batch(parity, trained, on_codes, lowered, batch.images, batch.labels);
    progress.update(parity.trained.total, "");
  }
  progress.clear();
}

int run_verify(const Arguments& args, Console& console) {
  apply_threads(args);
  const TrainedModel trained = load_trained(find_checkpoint(args.positional()[0]));
  const TrainedModel lowered = load_trained(args.positional()[1]);
  NIBBLE_CHECK(lowered.config.contains("lowered"), lowered.path, ": this is no lowered model (nibble lower)");
  ModelParity parity;
  parity.epilogue = lowered.config.at("lowered").json.value("epilogue", "");
  if (args.has("--inject"))
    console.err << "injected the fault '" << args.text("--inject") << "' into '"
                << inject(lowered.graph, args.text("--inject")) << "'\n";
  parity.mismatches = state_mismatches(trained.graph, lowered.graph, parity.epilogue);

  const Config section = choose_data(trained.config, args.text("--data"));
  const auto source = build_source(section);
  check_fits(trained.graph, *source, section);
  Loader::Options options;
  options.batch = static_cast<int>(args.integer("--batch", 50, 1, 1 << 12));
  Progress progress(console);
  options.notice = [&progress](const std::string& text) { progress.line(text); };
  Loader loader(*source, source->open(Split::test), options);
  measure(parity, trained.graph, lowered.graph, loader, args.integer("--images", 1000, 1, 1 << 30), progress);

  const std::vector<std::string> complaints = parity.complaints();
  if (args.has("--json")) {
    console.out << json_text(parity.json());
  } else {
    print(parity, console.out);
    for (const std::string& complaint : complaints) console.out << "BROKEN " << complaint << "\n";
    console.out << (complaints.empty() ? "the contract holds\n" : "the contract is broken\n");
  }
  return complaints.empty() ? 0 : 1;
}

}  // namespace

Command verify_command() {
  CommandSpec spec;
  spec.name = "verify";
  spec.arguments = "RUN_OR_CHECKPOINT MODEL";
  spec.min_arguments = spec.max_arguments = 2;
  spec.doc =
      "compare a lowered model with the checkpoint it was made from, edge by edge, on test images.\n"
      "The first columns compare whole networks: the checkpoint as nibble eval computes it, on codes, and the model.\n"
      "The others compare with the checkpoint in float, node by node: codes that differ, by how many levels, how far\n"
      "the furthest of them lies beyond a rounding boundary (in codes), and the largest difference over the edge's\n"
      "range; the last column is of the whole model. Exit code 1 if the contract is broken: the file holds what\n"
      "lowering gives, all bits are those of the checkpoint on codes, codes are at most one level from those in float\n"
      "and that at ties only, values agree to 1e-4 of their range, and top-1 to 5 in 10,000.";
  spec.options = {
      {"--images", "N", "how many; by default 1000", "", false},
      {"--batch", "N", "images at a time, by default 50; changes speed and memory only", "", false},
      {"--inject", "FAULT", "break the model's arithmetic first: rounding, zero_point or multiplier", "", false},
      option::data(),
      option::threads(),
      option::json()};
  return {spec, run_verify};
}

}  // namespace nibble
