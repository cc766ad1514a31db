#include "apps/teacher.h"

#include <algorithm>
#include <bit>

#include "apps/run_directory.h"
#include "apps/train_step.h"
#include "apps/trained_model.h"
#include "core/ops.h"

namespace nibble {
namespace {

/// FNV-1a with 64 bits.
class Hash {
 public:
  void add(const void* bytes, size_t count) {
    const auto* from = static_cast<const unsigned char*>(bytes);
    for (size_t i = 0; i < count; ++i) value_ = (value_ ^ from[i]) * 0x100000001b3;
  }
  void add(const std::string& text) { add(text.data(), text.size()); }
  int64_t value() const { return std::bit_cast<int64_t>(value_); }

 private:
  uint64_t value_ = 0xcbf29ce484222325;
};

std::string list_of(const std::vector<double>& values) { return Json(values).dump(); }

/// The values are written in decimal, and once more by whoever reads them.
bool nearly_equal(const std::vector<double>& a, const std::vector<double>& b) {
  return std::ranges::equal(a, b, [](double x, double y) { return std::abs(x - y) <= 1e-6; });
}

/// Fails unless both networks would be fed the same numbers for an image.
void check_normalisation(const TrainedModel& model, const DataOptions& ours, const Config& place) {
  if (!model.config.contains("data") || model.config.at("data").json.is_null())
    place.fail(
        "the teacher '" + model.path +
        "' does not say how its images were normalised: it has no data section (nibble import --data writes one)");
  const auto source = build_source(model.config.at("data"));
  const auto compare = [&](const char* what, const std::vector<double>& theirs, const std::vector<double>& wanted) {
    if (!nearly_equal(theirs, wanted))
      place.fail(concat_text("the teacher '", model.path, "' was trained on images normalised with ", what, " ",
                             list_of(theirs), ", but this run's data section says ", list_of(wanted)));
  };
  compare("mean", source->options().mean, ours.mean);
  compare("std", source->options().std, ours.std);
}

void check_classes(const TrainedModel& model, const RunParts& parts, const Config& place) {
  const Shape theirs = output_shape(model.graph, place);
  const int classes = parts.source->classes();
  if (theirs.rank() != 2 || theirs[1] != classes)
    place.fail(concat_text("the output of the teacher '", model.path, "' is ", theirs, " for one image, expected [1,",
                           classes, "]: this run's data has ", classes, " classes"));
  if (!model.config.contains("class_names")) return;
  const Json known = model.config.at("class_names").json, wanted = Json(parts.source->class_names());
  for (size_t i = 0; i < wanted.size() && known.is_array() && i < known.size(); ++i)
    if (known[i] != wanted[i])
      place.fail(concat_text("class ", i, " of the teacher '", model.path, "' is ", known[i].dump(),
                             ", but this run's is ", wanted[i].dump()));
}

}  // namespace

Tensor Teacher::logits(const Tensor& images) const {
  const NoRecord no_record;
  Tensor logits = graph_.forward(images, {Mode::eval});
  if (!all_finite(logits)) throw NotFinite("the output of the teacher '" + options_.checkpoint + "' is not finite");
  return logits;
}

Tensor Teacher::combine(const Tensor& labels, const Tensor& student, const Tensor& teacher) const {
  const double t = options_.temperature;
  const Tensor soft = scale(distillation_loss(student, teacher, t), static_cast<float>(options_.weight * t * t));
  if (options_.combine == "sum") return add(labels, soft);
  return add(scale(labels, static_cast<float>(1 - options_.weight)), soft);
}

int64_t Teacher::fingerprint() const {
  Hash hash;
  hash.add(graph_.to_json().dump());
  for (const NamedTensor& named : state_of(graph_)) {
    hash.add(named.name);
    hash.add(named.tensor.raw(), named.tensor.bytes());
  }
  return hash.value();
}

std::shared_ptr<const Teacher> load_teacher(const RunConfig& config, const RunParts& parts) {
  if (!parts.teacher) return nullptr;
  const Config place = config.loss.teacher.at("checkpoint");
  std::string path;
  try {
    path = find_checkpoint(parts.teacher->checkpoint, false);
  } catch (const UsageError& error) {
    place.fail(error.what());
  }
  TrainedModel model = load_trained(path);
  const Shape theirs = model.graph.input_shape(), ours = parts.graph.input_shape();
  if (theirs != ours)
    place.fail(concat_text("the teacher '", path, "' takes images ", theirs, ", but this run's network takes ", ours));
  check_classes(model, parts, place);
  check_normalisation(model, parts.source->options(), place);
  return std::make_shared<const Teacher>(std::move(model.graph), *parts.teacher);
}

}  // namespace nibble
