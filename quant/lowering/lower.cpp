#include "quant/lowering/lower.h"

#include <algorithm>

#include "layers/weight_slot.h"
#include "quant/lowering/first_output.h"
#include "quant/lowering/lowered_layer.h"
#include "quant/lowering/lowering.h"

namespace nibble {

namespace {

std::string listed(const std::vector<std::string>& items) {
  constexpr size_t kShown = 4;
  std::string text;
  for (size_t i = 0; i < std::min(items.size(), kShown); ++i) text += (i > 0 ? "; " : "") + items[i];
  if (items.size() > kShown) text += concat_text("; and ", items.size() - kShown, " more");
  return text;
}

/// What the quantizer in a node's weight slot lacks.
std::string unready_weight(const Node& node, const Facts& facts) {
  const WeightSlot* slot = node.layer->weight_slot();
  if (slot == nullptr || slot->empty() || !facts.gemm) return {};
  const Complaints wrong = slot->get()->audit_state(facts.gemm->latent);
  return wrong.empty() ? std::string() : wrong.front();
}

void check_quantized(const GraphView& view) {
  bool any = false;
  for (const Node& node : view.graph().nodes()) {
    NIBBLE_CHECK(dynamic_cast<const LoweredLayer*>(node.layer.get()) == nullptr, "lower: the network is lowered ",
                 "already ('", node.name, "' is a layer '", node.layer->type(),
                 "'); lower the checkpoint it was made from");
    const Facts& facts = view.facts(node);
    any |= facts.snaps_to.has_value() || !facts.unready.empty();
    any |= facts.gemm && !std::holds_alternative<Real>(facts.gemm->weight_grid);
  }
  NIBBLE_CHECK(any, "lower: the network has no quantizers, so there are no integers to compute with; train it with a ",
               "\"quant\" section, or quantize it as it is with 'nibble quantize CHECKPOINT --config FILE -o OUT'");
}

void check_ready(const GraphView& view) {
  std::vector<std::string> unready;
  for (const Node& node : view.graph().nodes()) {
    const Facts& facts = view.facts(node);
    if (!facts.unready.empty()) unready.push_back("'" + node.name + "': " + facts.unready);
    if (const std::string why = unready_weight(node, facts); !why.empty())
      unready.push_back("the weight of '" + node.name + "': " + why);
  }
  NIBBLE_CHECK(unready.empty(), "lower: ", unready.size(), " quantizers are not ready (", listed(unready),
               "); train the network, or calibrate it with 'nibble quantize CHECKPOINT --config FILE -o OUT'");
}

/// Whether all activation grids round as the fixed-point epilogue's paper does.
bool rounds_up(const GraphView& view) {
  bool any = false;
  for (const Node& node : view.graph().nodes()) {
    const std::optional<Grid>& grid = view.facts(node).snaps_to;
    if (!grid) continue;
    const auto* uniform = std::get_if<Uniform>(&*grid);
    if (uniform == nullptr || uniform->ties != Ties::up) return false;
    any = true;
  }
  return any;
}

void check_lowered(const Lowered& lowered) {
  std::vector<std::string> refusals;
  for (const Decision& d : lowered.report) {
    if (!d.engine.empty() || d.became == "packed_conv") return;
    if (!d.refusals.empty()) refusals.push_back("'" + d.node + "': " + d.refusals.front());
  }
  throw Error(concat_text(
      "lower: no layer of the network has quantized weights that can be lowered: ", listed(refusals),
      "; the weights of a layer, and for integer arithmetic its inputs, too, need quantizers of at most 256 levels"));
}

}  // namespace

void LowerOptions::fields(Fields& f) {
  f.choice("epilogue", epilogue, {"auto", "fixed", "float"},
           "how accumulators become codes: fixed-point multipliers as in gemmlowp, one single-precision multiplication "
           "rounded half to even, or what the activation grids suggest");
  std::vector<std::string> names{"any", "auto"};
  for (const Engine& e : engines()) names.emplace_back(e.name);
  f.choice("engine", engine, names,
           "what computes gemms on codes where it can; any: the first that can, auto: the fastest on this machine");
}

Lowered lower(const Graph& quantized, const LowerOptions& options, EngineClock* clock) {
  const FirstOutput needed = first_output(quantized);
  const Graph copy = needed.graph.clone();
  const GraphView view(copy);
  check_quantized(view);
  check_ready(view);
  const bool fixed = options.epilogue == "fixed" || (options.epilogue == "auto" && rounds_up(view));
  MeasuringClock measuring;
  Lowered lowered = Lowering(view, options, fixed, clock != nullptr ? *clock : measuring).run();
  check_lowered(lowered);
  codings_of(lowered.graph);
  for (const std::string& name : needed.dropped)
    lowered.report.push_back(
        {name, "dropped", {name}, {concat_text("the first output, '", copy.outputs()[0], "', does not need it")}});
  return lowered;
}

Lowered lower(const Graph& quantized, const Config& policy) {
  return lower(quantized, read_options<LowerOptions>(policy, {}));
}

std::map<std::string, std::string> engines_of(const Graph& lowered) {
  std::map<std::string, std::string> result;
  for (const Node& node : lowered.nodes()) {
    const auto* layer = dynamic_cast<const LoweredLayer*>(node.layer.get());
    if (layer != nullptr && !layer->engine().empty()) result[node.name] = layer->engine();
  }
  return result;
}

Evaluated evaluated(const Graph& graph, const LowerOptions& options) {
  try {
    return {lower(graph, options).graph, ""};
  } catch (const Error& error) {
    return {graph, error.what()};
  }
}

std::vector<std::optional<Coding>> codings_of(const Graph& lowered) {
  std::map<std::string, std::optional<Coding>> found{{"input", std::nullopt}};
  std::vector<std::optional<Coding>> result;
  for (const Node& node : lowered.nodes()) {
    std::vector<std::optional<Coding>> inputs;
    for (const std::string& input : node.inputs) inputs.push_back(found.at(input));
    std::optional<Coding> coding;
    try {
      if (const auto* layer = dynamic_cast<const LoweredLayer*>(node.layer.get()))
        coding = layer->coding(inputs);
      else
        NIBBLE_CHECK(std::ranges::none_of(inputs, [](const auto& c) { return c.has_value(); }),
                     "reads codes, but is no integer layer");
    } catch (const Error& error) {
      throw Error(concat_text(node.layer->type(), " '", node.name, "': ", error.what()));
    }
    found[node.name] = coding;
    result.push_back(coding);
  }
  return result;
}

}  // namespace nibble
