#include "apps/run_parts.h"

#include <algorithm>
#include <array>

#include "apps/class_loss.h"
#include "core/registry.h"
#include "core/tape.h"
#include "layers/model.h"
#include "quant/policy.h"

namespace nibble {
namespace {

/// {"type": ...} followed by `options`.
Json with_type(const std::string& type, const Json& options) {
  Json json = {{"type", type}};
  json.update(options);
  return json;
}

/// Networks are built by functions and keep no options, so the defaults come from what they declared.
Json model_with_defaults(const Config& model) {
  Json options = Json::object();
  for (const FieldDoc& field : Registry<Graph>::get().find(model).fields) {
    if (field.required || field.key.find('.') != std::string::npos) continue;
    const Json fallback = Json::parse(field.fallback, nullptr, false);
    if (!fallback.is_discarded()) options[field.key] = fallback;
  }
  Json json = with_type(model.type(), options);
  json.update(model.json);
  return json;
}

TeacherOptions read_teacher(const Config& section) {
  const auto options = read_options<TeacherOptions>(section, {});
  if (options.combine == "average" && options.weight > 1)
    section.at("weight").fail(concat_text("expected 0 to 1 for an average, found ", options.weight));
  return options;
}

void collect_differences(const Json& ours, const Json& theirs, const std::string& pointer,
                         std::vector<std::string>& found) {
  // The teacher's path: what counts is the network, which the checkpoint recognises by its fingerprint.
  constexpr std::array<std::string_view, 15> kHarmless = {"/name",
                                                          "/notes",
                                                          "/loss/teacher/checkpoint",
                                                          "/train/threads",
                                                          "/train/fuse",
                                                          "/train/log_every",
                                                          "/train/checkpoint_every",
                                                          "/data/root",
                                                          "/data/workers",
                                                          "/train/checkpoint_every_steps",
                                                          "/data/prefetch",
                                                          "/data/eval_batch",
                                                          "/train/init",
                                                          "/data/index",
                                                          "/data/skip_unreadable"};
  if (std::find(kHarmless.begin(), kHarmless.end(), pointer) != kHarmless.end() || ours == theirs) return;
  if (!ours.is_object() || !theirs.is_object()) {
    found.push_back(pointer + " (" + ours.dump() + ", the run has " + theirs.dump() + ")");
    return;
  }
  for (const auto& [key, value] : ours.items())
    collect_differences(value, theirs.contains(key) ? theirs[key] : Json(), pointer + "/" + key, found);
  for (const auto& [key, value] : theirs.items())
    if (!ours.contains(key)) collect_differences(Json(), value, pointer + "/" + key, found);
}

void check_fits(const Shape& input, const Shape& output, const DataSource& source, const Config& section) {
  const int side = source.side();
  if (side != 0 && (input[0] != side || input[1] != side))
    section.fail(concat_text("its images are ", side, "x", side, ", but the network takes ", input));
  if (output.rank() != 2 || output[1] != source.classes())
    section.fail(concat_text("it has ", source.classes(), " classes, but the network's output is ", output,
                             " (expected [1,", source.classes(), "]; most networks have an option \"classes\")"));
}

}  // namespace

std::shared_ptr<DataSource> build_source(const Config& section) { return Registry<DataSource>::get().make(section); }

Shape output_shape(const Graph& graph, const Config& model) {
  try {
    const NoRecord no_record;
    const Shape& input = graph.input_shape();
    if (input.rank() != 3) model.fail(concat_text("the network's input shape is ", input, ", expected [H,W,C]"));
    return graph.forward(Tensor::zeros(Shape{1, input[0], input[1], input[2]}), {Mode::eval}).shape();
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    model.fail(error.what());
  }
}

RunParts build_parts(const RunConfig& config) {
  RunParts parts;
  parts.graph = build_model(config.model);
  parts.graph.initialize(config.seed);
  if (!config.quant.json.is_null()) parts.graph = quantize(parts.graph, config.quant);
  parts.source = build_source(config.data);
  parts.optimizer = Registry<Optimizer>::get().make(config.optim);
  parts.rate = std::make_shared<LearningRate>(parts.optimizer->options());
  if (!config.train.ema.json.is_null()) parts.ema = read_options<Ema::Options>(config.train.ema, {});
  if (!config.loss.teacher.json.is_null()) parts.teacher = read_teacher(config.loss.teacher);
  const ClassLoss checked(config.loss);
  check_fits(parts.graph.input_shape(), output_shape(parts.graph, config.model), *parts.source, config.data);
  return parts;
}

void attach_optimizer(const RunParts& parts, const RunConfig& config) {
  std::vector<Param> params;
  for (const NamedTensor& named : parameters_of(parts.graph))
    params.push_back({named.name, named.tensor, named.traits.decay, named.traits.lr_factor, named.traits.mask});
  try {
    parts.optimizer->attach(std::move(params));
  } catch (const UsageError& error) {
    throw UsageError(config.optim.file + ": " + error.what());
  }
}

void check_fits(const Graph& graph, const DataSource& source, const Config& section) {
  check_fits(graph.input_shape(), output_shape(graph, section), source, section);
}

Json resolved_config(const RunConfig& config, const RunParts& parts) {
  Json json = write_options(config);
  json["model"] = model_with_defaults(config.model);
  json["data"] = with_type(config.data.type(), parts.source->config());
  json["optim"] = with_type(config.optim.type(), parts.optimizer->config());
  if (parts.ema) json["train"]["ema"] = write_options(*parts.ema);
  if (parts.teacher) json["loss"]["teacher"] = write_options(*parts.teacher);
  return json;
}

Json with_defaults(const Json& recorded, const Json& ours, const std::string& file) {
  Json json = recorded;
  if (json.contains("data") && ours.contains("data") && ours["data"].contains("root"))
    json["data"]["root"] = ours["data"]["root"];  // images may have moved
  try {
    const RunConfig config = read_run_config(Config(json, file));
    return resolved_config(config, build_parts(config));
  } catch (const Error&) {
    return recorded;  // what is wrong with it shows where it differs
  }
}

std::vector<std::string> differing_options(const Json& ours, const Json& theirs) {
  std::vector<std::string> found;
  collect_differences(ours, theirs, "", found);
  return found;
}

}  // namespace nibble
