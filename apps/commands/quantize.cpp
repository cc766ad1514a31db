#include <algorithm>
#include <cstdio>
#include <ostream>

#include "apps/commands/commands.h"
#include "apps/noise.h"
#include "apps/run_directory.h"
#include "apps/run_parts.h"
#include "apps/table.h"
#include "apps/trained_model.h"
#include "core/file.h"
#include "data/loader.h"
#include "layers/describe.h"
#include "layers/weight_slot.h"
#include "quant/policy.h"
#include "quant/start.h"

namespace nibble {
namespace {

constexpr int64_t kDefaultImages = 512;

/// What the command reads of a config that is no whole training config.
struct QuantConfig {
  std::string name, notes;
  Config quant{Json()}, data{Json()};
  void fields(Fields& f) {
    f("name", name, "for the reader");
    f("notes", notes, "for the reader");
    f.raw("quant", quant, "list of rules", "which layers are quantized, and how");
    f.raw("data", data, "data source or null", "the images");
  }
};

QuantConfig read_quant_config(const Arguments& args) {
  if (!args.has("--config")) throw UsageError("nibble quantize: --config must be given (a file with \"quant\" rules)");
  Config config = load_config(args.text("--config"));
  for (const std::string& assignment : args.all("--set")) set_option(config, assignment);
  QuantConfig result;
  if (config.contains("model")) {
    const RunConfig run = read_run_config(config);
    result.quant = run.quant;
    result.data = run.data;
  } else {
    result = read_options<QuantConfig>(config, {});
  }
  if (result.quant.json.is_null()) config.fail("it has no \"quant\" section, so there is nothing to quantize by");
  return result;
}

void check_is_float(const TrainedModel& model) {
  const auto refuse = [&model](const std::string& node, std::string_view type) {
    throw UsageError(concat_text(model.path, ": it is quantized already ('", node, "' has a '", type,
                                 "' quantizer); nibble quantize begins with a network in float"));
  };
  for (const Node& node : model.graph.nodes()) {
    if (dynamic_cast<const Quantizer*>(node.layer.get()) != nullptr) refuse(node.name, node.layer->type());
    const WeightSlot* slot = node.layer->weight_slot();
    if (slot != nullptr && !slot->empty()) refuse(node.name, slot->get()->type());
  }
}

/// --data, the config's or the checkpoint's, in this order. Throws UsageError if the network was trained on images that
/// were normalised in another way.
Config choose_section(const TrainedModel& model, const Config& from_config, const std::string& override_text) {
  if (!override_text.empty() || from_config.json.is_null()) return choose_data(model.config, override_text);
  if (!model.config.contains("data")) return from_config;
  const DataOptions ours = build_source(from_config)->options();
  const DataOptions trained = build_source(model.config.at("data"))->options();
  if (ours.mean != trained.mean || ours.std != trained.std)
    from_config.fail(concat_text("it normalises images with mean ", Json(ours.mean).dump(), " and std ",
                                 Json(ours.std).dump(), ", but ", model.path, " was trained with ",
                                 Json(trained.mean).dump(), " and ", Json(trained.std).dump()));
  return from_config;
}

/// `count` images spread evenly over a dataset, in which they may be sorted by class.
class Spread final : public Dataset {
 public:
  Spread(std::shared_ptr<const Dataset> all, int64_t count) : all_(std::move(all)), count_(count) {}
  int64_t size() const override { return count_; }
  Sample get(int64_t index) const override { return all_->get(index * all_->size() / count_); }

 private:
  std::shared_ptr<const Dataset> all_;
  int64_t count_;
};

/// `wanted` images, or with 0 the default number or all if there are fewer.
std::vector<Tensor> calibration_batches(const DataSource& source, int64_t wanted) {
  const auto all = source.open(Split::train);
  if (wanted > all->size())
    throw UsageError(concat_text("nibble quantize: --calibrate expects at most the ", all->size(),
                                 " training images, got ", wanted));
  const int64_t images = wanted > 0 ? wanted : std::min(kDefaultImages, all->size());
  Loader::Options options;
  options.batch = source.options().eval_batch;
  options.workers = source.options().workers;
  options.prefetch = source.options().prefetch;
  Loader loader(source, std::make_shared<Spread>(all, images), options);
  loader.start(0);
  std::vector<Tensor> batches;
  for (Batch batch; loader.next(batch);) batches.push_back(batch.images);
  return batches;
}

/// Normal noise, in batches small enough for large images.
std::vector<Tensor> noise_batches(const Shape& sample, int64_t count) {
  constexpr int64_t kBatch = 8;
  Rng rng(1);
  std::vector<Tensor> batches;
  for (int64_t done = 0; done < count; done += kBatch)
    batches.push_back(noise_images(sample, std::min(kBatch, count - done), rng));
  return batches;
}

CalibrateOptions read_method(const Arguments& args) {
  Json json = Json::object();
  if (args.has("--method")) json["method"] = args.text("--method");
  if (args.has("--percentile")) {
    json["percentile"] = Json::parse(args.text("--percentile"), nullptr, false);
    if (!json["percentile"].is_number())
      throw UsageError("nibble quantize: --percentile expects a number, found '" + args.text("--percentile") + "'");
    if (args.text("--method") != "percentile")
      throw UsageError("nibble quantize: --percentile goes with --method percentile");
  }
  return read_options<CalibrateOptions>(Config(json, "nibble quantize"), {});
}

std::string number(float value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.5g", static_cast<double>(value));
  return text;
}

std::vector<std::string> float_layers(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes()) {
    const WeightSlot* slot = node.layer->weight_slot();
    if (slot != nullptr && slot->empty()) names.push_back(node.name);
  }
  return names;
}

void print_lines(const std::vector<StartLine>& lines, std::ostream& out) {
  Table table({"name", "quantizer", "bits", "lowest", "highest", "step", "set by"}, {2, 3, 4, 5});
  for (const StartLine& line : lines) {
    const std::string step = line.smallest_step == line.largest_step
                                 ? number(line.smallest_step)
                                 : number(line.smallest_step) + ".." + number(line.largest_step);
    table.add({line.node, line.role + " " + line.method, std::to_string(line.bits), number(line.lowest),
               number(line.highest), step, line.how});
  }
  table.print(out);
}

Json json_of(const std::vector<StartLine>& lines) {
  Json list = Json::array();
  for (const StartLine& line : lines)
    list.push_back({{"name", line.node},
                    {"role", line.role},
                    {"type", line.method},
                    {"bits", line.bits},
                    {"lowest", line.lowest},
                    {"highest", line.highest},
                    {"smallest_step", line.smallest_step},
                    {"largest_step", line.largest_step},
                    {"set_by", line.how}});
  return list;
}

/// What the quantizers are set from.
struct Calibration {
  std::vector<Tensor> batches;
  Json data;  ///< section of the images; with noise the checkpoint's own, null if it has none
  int64_t images = 0;
  const char* what = "images";
};

Calibration read_calibration(const Arguments& args, const QuantConfig& config, const TrainedModel& model) {
  const int64_t wanted = args.integer("--calibrate", 0, 1, int64_t{1} << 30);
  const int64_t noise = args.integer("--noise", 0, 1, 1024);
  Calibration result;
  if (noise > 0) {
    if (wanted > 0 || args.has("--data"))
      throw UsageError(
          "nibble quantize: --noise takes the place of images, so --calibrate and --data do not go with it");
    result.batches = noise_batches(model.graph.input_shape(), noise);
    result.what = "noise";
    if (model.config.contains("data")) result.data = model.config.json["data"];
  } else {
    const Config section = choose_section(model, config.data, args.text("--data"));
    const auto source = build_source(section);
    check_fits(model.graph, *source, section);
    result.batches = calibration_batches(*source, wanted);
    result.data = {{"type", section.type()}};
    result.data.update(source->config());
  }
  for (const Tensor& batch : result.batches) result.images += batch.dim(0);
  return result;
}

/// What the new checkpoint says of itself: the network's config without the course of its training.
Json config_of(const TrainedModel& model, const Config& quant, const Calibration& calibration,
               const CalibrateOptions& method) {
  Json json = Json::object();
  for (const char* key : {"name", "model", "class_names"})
    if (model.config.contains(key)) json[key] = model.config.json[key];
  if (!calibration.data.is_null()) json["data"] = calibration.data;
  json["quant"] = quant.json;
  json["calibrated"] = write_options(method);
  json["calibrated"][calibration.what] = calibration.images;
  return json;
}

int run_quantize(const Arguments& args, Console& console) {
  apply_threads(args);
  const std::string out = args.text("--out");
  if (out.empty()) throw UsageError("nibble quantize: --out must be given, the checkpoint to write");
  const QuantConfig config = read_quant_config(args);
  const CalibrateOptions method = read_method(args);
  const TrainedModel model = load_trained(find_checkpoint(args.positional()[0], args.has("--best")));
  check_is_float(model);
  const Graph graph = quantize(model.graph, config.quant);
  const Calibration calibration = read_calibration(args, config, model);
  const std::vector<StartLine> lines = start_quantizers(graph, calibration.batches, method);
  if (lines.empty()) config.quant.fail("its rules put no quantizer anywhere");
  save_checkpoint(out, graph, config_of(model, config.quant, calibration, method));
  int64_t bits = 0, float_bits = 0;
  for (const NodeInfo& node : describe(graph)) {
    bits += node.size_bits;
    float_bits += node.float_bits;
  }
  const std::vector<std::string> real = float_layers(graph);
  if (args.has("--json")) {
    console.out << json_text({{"checkpoint", out},
                              {calibration.what, calibration.images},
                              {"method", method.method},
                              {"quantizers", json_of(lines)},
                              {"float_layers", real},
                              {"size_bits", bits},
                              {"float_bits", float_bits}});
    return 0;
  }
  print_lines(lines, console.out);
  console.out << "weights in float: " << (real.empty() ? "none" : "");
  for (size_t i = 0; i < real.size(); ++i) console.out << (i > 0 ? ", " : "") << real[i];
  console.out << "\nsize " << (bits + 7) / 8 << " bytes when packed, " << (float_bits + 7) / 8 << " in float\n"
              << "wrote " << out;
  if (args.has("--noise")) {
    console.out << ", calibrated on noise: as fast as any, but of no use on images\n";
  } else {
    console.out << "; its accuracy: nibble eval " << out << "\n";
  }
  return 0;
}

}  // namespace

Command quantize_command() {
  CommandSpec spec;
  spec.name = "quantize";
  spec.arguments = "RUN_OR_CHECKPOINT";
  spec.min_arguments = spec.max_arguments = 1;
  spec.doc =
      "quantize a trained network without training it.\n"
      "Puts the quantizers of a config's \"quant\" rules into a float network and sets them from its weights and from\n"
      "training images without augmentation. Affine quantizers are calibrated by --method; all others get the state\n"
      "with which their training would start. Batch-norm statistics and weights stay as they are. The result is a\n"
      "checkpoint for nibble eval, predict, inspect, audit and pack, and a start for training: nibble train CONFIG\n"
      "--set /train/init=OUT.";
  spec.options = {
      {"--config", "FILE", "a training config, or an object with \"quant\" and, if wanted, \"data\"", "", false},
      {"--out", "CHECKPOINT", "the file to write", "-o", false},
      {"--calibrate", "N", "training images to look at, spread evenly over the set; by default 512", "", false},
      {"--noise", "N",
       "look at N draws of normal noise instead: enough to measure speed, worthless for accuracy; needs no data", "",
       false},
      {"--method", "NAME", "range of affine quantizers: min_max (default), percentile, mse or kl", "", false},
      {"--percentile", "P", "for percentile: part of the values below the upper end, in percent; by default 99.99", "",
       false},
      {"--best", "", "the run's best checkpoint instead of the last", "", false},
      option::data(),
      option::set(),
      option::threads(),
      option::json()};
  return {spec, run_quantize};
}

}  // namespace nibble
