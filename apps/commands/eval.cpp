#include <cstdio>
#include <ostream>

#include "apps/commands/commands.h"
#include "apps/evaluate.h"
#include "apps/progress.h"
#include "apps/run_directory.h"
#include "apps/run_parts.h"
#include "apps/trained_model.h"

namespace nibble {
namespace {

int run_eval(const Arguments& args, Console& console) {
  apply_isa(args, "eval");
  apply_threads(args);
  const TrainedModel model =
      load_trained(find_checkpoint(args.positional()[0], args.has("--best")), args.has("--live"));
  const Config section = choose_data(model.config, args.text("--data"));
  const auto source = build_source(section);
  check_fits(model.graph, *source, section);
  Loader::Options options;
  options.batch = static_cast<int>(args.integer("--batch", source->options().eval_batch, 1, 1 << 16));
  options.workers = source->options().workers;
  options.prefetch = source->options().prefetch;
  Progress progress(console);
  options.notice = [&progress](const std::string& text) { progress.line(text); };
  Loader loader(*source, source->open(Split::test), options);

  if (model.averaged) progress.line("evaluating the moving average of the parameters (--live for the others)");
  progress.start("eval", loader.samples());
  const auto result = evaluate(
      model.graph, loader,
      [&progress](int64_t images) {
        progress.update(images, "");
        return true;
      },
      args.has("--in-float"));
  progress.clear();
  const bool on_codes = result->on_codes || model.config.contains("lowered");
  if (args.has("--json")) {
    Json json = result->json();
    json["checkpoint"] = model.path;
    json["on_codes"] = on_codes;
    if (args.has("--hash")) json["logits_hash"] = result->hash.text();
    console.out << json_text(json);
    return 0;
  }
  char text[200];
  std::snprintf(text, sizeof text, "top-1  %.2f %% (%lld of %lld)\ntop-5  %.2f %%\nloss   %.4f\n", result->top1(),
                static_cast<long long>(result->correct), static_cast<long long>(result->total), result->top5(),
                result->loss());
  console.out << text << (on_codes ? "computed on the codes of the quantizers\n" : "");
  if (args.has("--hash")) console.out << "logits " << result->hash.text() << "\n";
  return 0;
}

}  // namespace

Command eval_command() {
  CommandSpec spec;
  spec.name = "eval";
  spec.arguments = "RUN_OR_CHECKPOINT";
  spec.min_arguments = spec.max_arguments = 1;
  spec.doc =
      "measure a trained network on the test images.\n"
      "A run's folder stands for its last checkpoint. A quantized network is computed on the codes of its quantizers, "
      "as\n"
      "exactly as its lowered model does (nibble lower), wherever it can be lowered. JSON keys: top1 and top5 "
      "(percent),\n"
      "loss, correct, total, on_codes, and logits_hash with --hash.";
  spec.options = {option::data(),
                  {"--best", "", "the run's best checkpoint instead of the last", "", false},
                  {"--live", "", "the parameters themselves, not their moving average", "", false},
                  {"--in-float", "",
                   "a quantized network: compute with the quantizers' values in f32, as training does", "", false},
                  {"--batch", "N", "images at a time; changes speed and memory only", "", false},
                  option::threads(),
                  option::isa(),
                  option::hash(),
                  option::json()};
  return {spec, run_eval};
}

}  // namespace nibble
