#include <filesystem>
#include <ostream>

#include "apps/commands/commands.h"
#include "apps/run_directory.h"
#include "apps/trained_model.h"
#include "quant/pack.h"

namespace nibble {
namespace {

int run_pack(const Arguments& args, Console& console) {
  const std::string out = args.text("--out");
  if (out.empty()) throw UsageError("nibble pack: --out must be given, the file to write");
  const TrainedModel model = load_trained(find_checkpoint(args.positional()[0], args.has("--best")));
  const Graph packed = pack(model.graph);
  save_packed_checkpoint(out, packed, model.config.json);
  const auto before = std::filesystem::file_size(model.path), after = std::filesystem::file_size(out);
  if (args.has("--json")) {
    console.out << json_text({{"checkpoint", out}, {"bytes", after}, {"from", model.path}, {"from_bytes", before}});
  } else {
    console.out << "wrote " << out << ": " << after << " bytes; " << model.path << " has " << before << "\n";
  }
  return 0;
}

}  // namespace

Command pack_command() {
  CommandSpec spec;
  spec.name = "pack";
  spec.arguments = "RUN_OR_CHECKPOINT";
  spec.min_arguments = spec.max_arguments = 1;
  spec.doc =
      "write a quantized network with its weights as codes of their bits.\n"
      "A folded batch norm becomes part of weight and bias, and what only training needs is left out. The file is a\n"
      "checkpoint for nibble eval, predict, inspect and audit, which compute the same from it, bit for bit; it cannot\n"
      "be trained on. Tensor NODE.weight.codes holds code i in bits i b to (i + 1) b - 1, the lowest bit first;\n"
      "NODE.weight_quantizer.table holds what the codes stand for.";
  spec.options = {{"--out", "FILE", "the file to write", "-o", false},
                  {"--best", "", "the run's best checkpoint instead of the last", "", false},
                  option::json()};
  return {spec, run_pack};
}

}  // namespace nibble
