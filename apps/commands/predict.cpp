#include <algorithm>
#include <cstdio>
#include <numeric>
#include <ostream>

#include "apps/commands/commands.h"
#include "apps/run_directory.h"
#include "apps/run_parts.h"
#include "apps/trained_model.h"
#include "core/bit_hash.h"
#include "core/ops.h"
#include "data/loader.h"
#include "quant/lowering/lower.h"

namespace nibble {
namespace {

std::vector<std::string> names_of(const TrainedModel& model, const DataSource& source) {
  if (!model.config.contains("class_names")) return source.class_names();
  std::vector<std::string> names;
  for (const Json& name : model.config.json["class_names"]) {
    NIBBLE_CHECK(name.is_string(), model.path, ": its class names are no strings");
    names.push_back(name.get<std::string>());
  }
  return names;
}

Json predict_one(const TrainedModel& model, const DataSource& source, const std::vector<std::string>& names,
                 const std::string& path, bool hash) {
  const Tensor image = prepare_image(source, load_image(path));
  const Tensor logits = model.graph.forward(image, {Mode::eval});
  NIBBLE_CHECK(logits.rank() == 2, "predict: the network's output is ", logits.shape(), ", expected [1,classes]");
  const Tensor probabilities = softmax(logits);
  const auto values = probabilities.data<float>();
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
  order.resize(std::min<size_t>(order.size(), 5));
  Json top = Json::array();
  for (const size_t k : order)
    top.push_back(
        {{"class", k < names.size() ? names[k] : std::to_string(k)}, {"index", k}, {"probability", values[k]}});
  Json json{{"image", path}, {"top", top}};
  if (!hash) return json;
  BitHash bits;
  bits.add(logits);
  json["logits_hash"] = bits.text();
  return json;
}

int run_predict(const Arguments& args, Console& console) {
  apply_isa(args, "predict");
  apply_threads(args);
  TrainedModel model = load_trained(find_checkpoint(args.positional()[0]));
  model.graph = evaluated(model.graph).graph;
  const auto source = build_source(choose_data(model.config, args.text("--data")));
  const std::vector<std::string> names = names_of(model, *source);
  Json list = Json::array();
  for (size_t i = 1; i < args.positional().size(); ++i) {
    const Json one = predict_one(model, *source, names, args.positional()[i], args.has("--hash"));
    list.push_back(one);
    if (args.has("--json")) continue;
    console.out << args.positional()[i] << "\n";
    for (const Json& guess : one["top"]) {
      char text[32];
      std::snprintf(text, sizeof text, "  %6.2f %%  ", 100 * guess["probability"].get<double>());
      console.out << text << guess["class"].get<std::string>() << "\n";
    }
    if (args.has("--hash")) console.out << "  logits " << one["logits_hash"].get<std::string>() << "\n";
  }
  if (args.has("--json")) console.out << json_text(list);
  return 0;
}

}  // namespace

Command predict_command() {
  CommandSpec spec;
  spec.name = "predict";
  spec.arguments = "CHECKPOINT IMAGE...";
  spec.min_arguments = 2;
  spec.max_arguments = 10000;
  spec.doc =
      "name the five most probable classes of JPEG or PNG images.\n"
      "An image of another size than the network was trained on is scaled and cropped in the middle.";
  spec.options = {option::data(), option::threads(), option::isa(), option::hash(), option::json()};
  return {spec, run_predict};
}

}  // namespace nibble
