#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <ostream>
#include <sstream>

#include "apps/bench_crossover.h"
#include "apps/bench_data.h"
#include "apps/bench_kernels.h"
#include "apps/bench_model.h"
#include "apps/bench_train.h"
#include "apps/commands/commands.h"
#include "apps/machine.h"
#include "apps/memory_use.h"
#include "apps/progress.h"
#include "apps/run_directory.h"
#include "apps/run_parts.h"
#include "apps/trained_model.h"
#include "core/file.h"
#include "core/parallel.h"
#include "layers/fuse.h"

namespace nibble {
namespace {

RunConfig bench_config(const Arguments& args) {
  if (args.positional().size() > 1) return load_run_config(args.positional()[1], args.all("--set"));
  Config config(
      Json{{"name", "bench"},
           {"model", {{"type", "resnet20"}}},
           {"data", {{"type", "cifar10"}}},
           {"optim", {{"type", "sgd"}, {"lr", 0.1}, {"momentum", 0.9}, {"nesterov", true}, {"weight_decay", 1e-4}}}},
      "bench");
  for (const std::string& assignment : args.all("--set")) set_option(config, assignment);
  return read_run_config(config);
}

Json measure_training(const Arguments& args, Console& console) {
  BenchTrainOptions options;
  options.batch = args.integer("--batch", 0, 1, 1 << 20);
  options.steps = args.integer("--steps", 30, 1, 1000000);
  options.keep_threads = args.has("--threads");
  options.explain = args.has("--explain");
  Progress progress(console);
  return bench_train(bench_config(args), options, progress);
}

Json measure_inference(const Arguments& args, Console& console) {
  const std::string path = find_checkpoint(args.positional()[0]);
  MemoryUse memory;
  const auto begin = std::chrono::steady_clock::now();
  const TrainedModel model = load_trained(path);
  const double start = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  memory.loaded(model.graph, path);
  BenchModelOptions options;
  options.batch = args.integer("--batch", 1, 1, 1 << 16);
  options.steps = args.integer("--steps", 50, 1, 1000000);
  options.per_layer = args.has("--per-layer");
  options.hash = args.has("--hash");
  Progress progress(console);
  Json json = {{"model", model.path}, {"threads", threads()}};
  json.update(bench_model(fuse(model.graph).graph, options, progress));
  json["start_seconds"] = start;
  json["memory"] = memory.json(json["two_largest_activations_bytes"].get<int64_t>());
  json.erase("two_largest_activations_bytes");
  json["peak_rss_bytes"] = peak_rss_bytes();
  json["machine"] = machine_info();
  return json;
}

void print_inference(const Json& json, std::ostream& out) {
  const auto& seconds = json["seconds_per_batch"];
  char text[300];
  std::snprintf(text, sizeof text,
                "%s, batch %lld, %d threads: %.0f images/s (median of %lld passes: %.3f ms, %.3f to %.3f ms)\n",
                json["model"].get<std::string>().c_str(), json["batch"].get<long long>(), json["threads"].get<int>(),
                json["images_per_second"].get<double>(), json["steps"].get<long long>(),
                1e3 * seconds["median"].get<double>(), 1e3 * seconds["min"].get<double>(),
                1e3 * seconds["max"].get<double>());
  out << machine_line(json["machine"]) << "\n" << text;
  std::snprintf(text, sizeof text, "loaded in %.1f ms; ", 1e3 * json["start_seconds"].get<double>());
  out << text << memory_line(json["memory"]) << "\n";
  if (json.contains("logits_hash")) out << "logits " << json["logits_hash"].get<std::string>() << "\n";
  if (!json.contains("layers")) return;
  for (const Json& layer : json["layers"]) {
    std::snprintf(text, sizeof text, "%10.1f us  %-16s %s\n", layer["microseconds"].get<double>(),
                  layer["type"].get<std::string>().c_str(), layer["name"].get<std::string>().c_str());
    out << text;
  }
}

Json measure_kernels(const Arguments& args, Console& console) {
  Progress progress(console);
  Json json = bench_kernels(args.integer("--steps", 30, 1, 1000000), progress);
  json["machine"] = machine_info();
  return json;
}

void print_kernels_on(const Json& json, std::ostream& out) {
  out << machine_line(json["machine"]) << "\n";
  print_kernels(json, out);
}

Json measure_data(const Arguments& args, Console& console) {
  if (args.positional().size() < 2) throw UsageError("nibble bench data: expected a config or a folder of images");
  const std::string& path = args.positional()[1];
  Config config =
      std::filesystem::is_directory(path) ? Config(Json{{"data", imagenet_section(path)}}, "bench") : load_config(path);
  for (const std::string& assignment : args.all("--set")) set_option(config, assignment);
  const auto source = build_source(config.at("data"));
  Progress progress(console);
  Json json = bench_data(*source, args.integer("--steps", 200, 1, 1000000), progress);
  json["peak_rss_bytes"] = peak_rss_bytes();
  json["machine"] = machine_info();
  return json;
}

void print_data_on(const Json& json, std::ostream& out) {
  char text[60];
  std::snprintf(text, sizeof text, "peak memory %.0f MiB\n", json["peak_rss_bytes"].get<double>() / (1 << 20));
  out << machine_line(json["machine"]) << "\n";
  print_data(json, out);
  out << text;
}

constexpr const char* kCrossoverLayers = "64x56,128x28,256x14,16x32";

/// "bench crossover" in a process of its own, since a process chooses its instruction set once.
Json crossover_on(const std::string& isa, const std::string& layers, int64_t steps) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  NIBBLE_CHECK(program.find('\'') == std::string::npos, "bench: cannot start ", program, ": its path has a quote");
  const std::string command = concat_text("'", program, "' bench crossover --json --isa ", isa, " --layers ", layers,
                                          " --steps ", steps, " --threads ", threads());
  FILE* pipe = popen(command.c_str(), "r");
  NIBBLE_CHECK(pipe != nullptr, "bench: cannot start ", command);
  std::string text;
  char part[4096];
  for (size_t n; (n = std::fread(part, 1, sizeof part, pipe)) > 0;) text.append(part, n);
  NIBBLE_CHECK(pclose(pipe) == 0, "bench: failed: ", command);
  return Json::parse(text)["isas"][0];
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

Json measure_crossover(const Arguments& args, Console& console) {
  const std::string text = args.has("--layers") ? args.text("--layers") : kCrossoverLayers;
  const std::vector<CrossoverLayer> layers = crossover_layers(text);
  const int64_t steps = args.integer("--steps", 30, 1, 1000000);
  std::string command = concat_text("nibble bench crossover --threads ", threads(), " --steps ", steps);
  if (text != kCrossoverLayers) command += " --layers " + text;
  Json isas = Json::array();
  if (args.has("--isa")) {
    command += " --isa " + args.text("--isa");
    Progress progress(console);
    isas.push_back(bench_crossover(args.text("--isa"), layers, steps, progress));
  } else {
    for (const std::string& isa : crossover_isas()) isas.push_back(crossover_on(isa, text, steps));
  }
  if (args.has("--out")) command += " -o " + args.text("--out");
  return {{"command", command}, {"date", today()}, {"steps", steps}, {"machine", machine_info()}, {"isas", isas}};
}

/// What "bench WORD" measures.
struct Benchmark {
  Json (*measure)(const Arguments&, Console&);
  void (*print)(const Json&, std::ostream&);
  size_t arguments;  ///< at most, the word included
};

Benchmark benchmark(const std::string& word) {
  if (word == "train") return {measure_training, print_bench_train, 2};
  if (word == "kernels") return {measure_kernels, print_kernels_on, 1};
  if (word == "crossover") return {measure_crossover, print_crossover, 1};
  if (word == "data") return {measure_data, print_data_on, 2};
  return {measure_inference, print_inference, 1};
}

int run_bench(const Arguments& args, Console& console) {
  if (args.positional().empty()) {
    console.out << "train      images per second of the training step, on synthetic batches\n"
                   "kernels    the convolution kernels alone, layer by layer, against the peak of their instructions\n"
                   "crossover  bitwise kernels against int8 and float, by bits and instruction set, as Markdown\n"
                   "data       images per second and core that are read and prepared for the network\n"
                   "MODEL      images per second of a checkpoint or lowered model, on synthetic batches\n";
    return 0;
  }
  apply_isa(args, "bench");
  apply_threads(args);
  const Benchmark chosen = benchmark(args.positional()[0]);
  if (args.positional().size() > chosen.arguments)
    throw UsageError("nibble bench: one benchmark at a time, got also '" + args.positional()[chosen.arguments] + "'");
  const Json json = chosen.measure(args, console);
  std::ostringstream text;
  if (args.has("--json"))
    text << json_text(json);
  else
    chosen.print(json, text);
  if (args.has("--out"))
    write_file_atomically(args.text("--out"), text.str());
  else
    console.out << text.str();
  return 0;
}

}  // namespace

Command bench_command() {
  CommandSpec spec;
  spec.name = "bench";
  spec.arguments = "[train [CONFIG] | kernels | crossover | data CONFIG_OR_FOLDER | RUN_OR_MODEL]";
  spec.max_arguments = 2;
  spec.doc =
      "measure speed and memory; without arguments, list the benchmarks.\n"
      "\"bench train\" times the training step of a config's network (by default ResNet-20) on synthetic images and\n"
      "counts what its tensors take from the system's memory; \"bench RUN_OR_MODEL\" times the evaluation of a "
      "trained\n"
      "or lowered network, and says how long loading it takes, and its memory.\n"
      "\"bench kernels\" times the kernels of convolutions alone; the layers are those of ResNet-20, ResNet-18 and\n"
      "MobileNet-v1. \"bench data\" times reading and preparing the images of a config, or of a folder in ImageNet's "
      "form,\n"
      "on one core. \"bench crossover\" compares bitwise kernels with int8 and float ones for weights and inputs of 1 "
      "to "
      "4\n"
      "bits, on every instruction set of this processor (or that of --isa): apps/results/bitwise.md is its output.";
  spec.options = {
      {"--batch", "N", "images per step; by default the config's, for a model 1", "", false},
      {"--steps", "N", "measured steps, after some that are not (30; for a model 50); images of data (200)", "", false},
      {"--out", "FILE", "write the result there instead of printing it", "-o", false},
      {"--layers", "CxS,...", "crossover: 3x3 layers, channels x size (64x56,128x28,256x14,16x32)", "", false},
      {"--explain", "", "train: also the kernels, layer by layer and pass by pass: time, GFLOP/s, share of the peak",
       "", false},
      {"--per-layer", "", "a model: also the median time of every layer", "", false},
      option::threads(),
      option::isa(),
      option::hash(),
      option::set(),
      option::json()};
  return {spec, run_bench};
}

}  // namespace nibble
