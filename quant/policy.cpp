#include "quant/policy.h"

#include <algorithm>
#include <map>

#include "core/glob.h"
#include "layers/weight_slot.h"
#include "quant/fold_batch_norm.h"
#include "quant/gradient_quantizer.h"
#include "quant/nonnegative.h"
#include "quant/output_placement.h"

namespace nibble {

namespace {

struct Rule {
  std::string match;
  Config weight{nullptr}, act{nullptr}, grad{nullptr};
  bool share_act = false;
  std::string place = "inputs";
  Config fold_batch_norm{nullptr};
  void fields(Fields& f) {
    f.required()("match", match, "pattern of node names: '*', '?', and '|' between alternatives");
    f.raw("weight", weight, "a quantizer or null", "what the weight passes through");
    f.raw("act", act, "a quantizer or null", "what the layer's input passes through");
    f.raw("grad", grad, "a gradient quantizer or null", "what the gradient of the layer's output passes through");
    f("share_act", share_act, "layers that read the same tensor share one activation quantizer");
    f.choice("place", place, {"inputs", "outputs"},
             "where \"act\" goes: in front of the layer, or, as integer inference needs it, behind the layer (or add, "
             "concat, or the network's \"input\") with its batch norm and activation function");
    f.raw("fold_batch_norm", fold_batch_norm, "an object or null",
          "fold the batch norm behind the layer into its weight before that is quantized; \"mode\", \"freeze\" and "
          "\"freeze_share\" as in conv2d_bn");
  }
};

/// The options a quantizer has, so that only those are filled in.
bool has_option(const Config& quantizer, const std::string& key) {
  return std::ranges::any_of(Registry<Layer>::get().find(quantizer).fields,
                             [&](const FieldDoc& field) { return field.key == key; });
}

void fill_in(Config& quantizer, const std::string& key, const Json& value) {
  if (!quantizer.json.contains(key) && has_option(quantizer, key)) quantizer.json[key] = value;
}

/// A method declares in its option "role" what it can quantize. One without that option takes what it gets.
bool declares(const std::vector<FieldDoc>& fields, const std::string& role) {
  return std::ranges::any_of(fields, [&](const FieldDoc& field) {
    return field.key == "role" && field.accepts.find('"' + role + '"') != std::string::npos;
  });
}

std::string methods_for(const std::string& role) {
  std::string list;
  for (const auto& [name, entry] : Registry<Layer>::get().entries())
    if (declares(entry.fields, role)) list += (list.empty() ? "" : ", ") + name;
  return list;
}

/// Refuses a method that cannot quantize what a rule gives it: "weight", or "act", the activations.
void check_role(const Config& quantizer, const std::string& role, const std::string& node) {
  const std::string what = role == "weight" ? "weight" : "activations";
  if (has_option(quantizer, "role") && !declares(Registry<Layer>::get().find(quantizer).fields, role))
    quantizer.fail("'" + quantizer.type() + "' cannot quantize the " + what + " of '" + node +
                   "' (methods that can: " + methods_for(role) + ")");
  if (quantizer.contains("role") && quantizer.json["role"] != role)
    quantizer.at("role").fail("the rule makes this the " + what + " of '" + node + "', so it must be \"" + role + "\"");
  if (role == "act" && quantizer.json.value("per_channel", Json(false)) == Json(true) &&
      has_option(quantizer, "per_channel"))
    quantizer.at("per_channel")
        .fail("the activations of '" + node + "' have one grid; only weights have one per channel");
}

std::shared_ptr<Quantizer> make_quantizer(const Config& config) {
  auto quantizer = std::dynamic_pointer_cast<Quantizer>(Registry<Layer>::get().make(config));
  if (quantizer == nullptr) config.fail("'" + config.type() + "' is no quantizer");
  return quantizer;
}

std::shared_ptr<Layer> make_gradient_quantizer(const Config& config) {
  auto layer = std::dynamic_pointer_cast<GradientQuantizer>(Registry<Layer>::get().make(config));
  if (layer == nullptr) config.fail("'" + config.type() + "' does not quantize gradients");
  return layer;
}

Config for_weight(Config config, const Tensor& weight, const std::string& node) {
  check_role(config, "weight", node);
  const int64_t channels = weight.dim(0), window = weight.rank() == 4 ? weight.dim(2) * weight.dim(3) : 1;
  fill_in(config, "role", "weight");
  fill_in(config, "signed", true);
  fill_in(config, "channels", channels);
  fill_in(config, "fan_in", weight.numel() / channels);
  fill_in(config, "fan_out", window * channels);
  return config;
}

/// For what reads `edge` of a graph.
Config for_activation(Config config, const std::string& node, const Graph& graph, const std::string& edge) {
  check_role(config, "act", node);
  fill_in(config, "role", "act");
  if (!config.contains("signed") && has_option(config, "signed")) config.json["signed"] = !is_nonnegative(graph, edge);
  return config;
}

/// Refuses a pattern that matches nothing, or nothing that could carry what the rule says.
void check_match(const Rule& rule, const Config& config, const Graph& graph, const std::vector<OutputSite>& sites) {
  const bool layers = std::ranges::any_of(graph.nodes(), [&](const Node& node) {
    return node.layer->weight_slot() != nullptr && glob_match(rule.match, node.name);
  });
  if (rule.place == "inputs") {
    if (!layers)
      config.at("match").fail("the pattern '" + rule.match +
                              "' matches no layer that can carry a quantizer (conv2d, linear)");
    return;
  }
  const bool places =
      std::ranges::any_of(sites, [&](const OutputSite& site) { return glob_match(rule.match, site.head); });
  if (!places && !layers)
    config.at("match").fail("the pattern '" + rule.match +
                            "' matches no place that can carry a quantizer (\"input\", conv2d, linear, add, concat, "
                            "average pooling)");
  if (!layers)
    for (const auto& [key, value] : {std::pair{"weight", &rule.weight}, {"grad", &rule.grad}})
      if (!value->json.is_null()) value->fail("the pattern '" + rule.match + "' matches no layer with a " + key);
}

std::vector<Rule> read_rules(const Config& section, const Graph& graph) {
  if (!section.json.is_array()) section.fail("expected a list of rules");
  const std::vector<OutputSite> sites = output_sites(graph);
  std::vector<Rule> rules;
  for (size_t i = 0; i < section.json.size(); ++i) {
    rules.push_back(read_options<Rule>(section.at(i), {}));
    check_match(rules.back(), section.at(i), graph, sites);
  }
  return rules;
}

/// The first rule that matches a node's name, or null.
const Rule* rule_for(const std::vector<Rule>& rules, const std::string& name) {
  const auto rule = std::ranges::find_if(rules, [&](const Rule& r) { return glob_match(r.match, name); });
  return rule == rules.end() ? nullptr : &*rule;
}

/// Folds by every rule that asks for it, each with its own options. A copy.
Graph with_folds(const Graph& real, const std::vector<Rule>& rules) {
  Graph graph = real.clone();
  for (const Rule& rule : rules) {
    if (rule.fold_batch_norm.json.is_null()) continue;
    Graph folded = fold_batch_norm(graph, read_options<FoldOptions>(rule.fold_batch_norm, {}),
                                   [&](const Node& node) { return rule_for(rules, node.name) == &rule; });
    if (folded.nodes().size() == graph.nodes().size())
      rule.fold_batch_norm.fail("no layer that '" + rule.match + "' matches has a batch_norm as its only reader");
    graph = std::move(folded);
  }
  return graph;
}

/// Writes the nodes of the quantized graph, one real node after the other.
class Rewriter {
 public:
  Rewriter(const Graph& real, std::vector<Rule> rules) : rules_(std::move(rules)), result_(real.input_shape()) {}

  void copy(const Node& node) {
    WeightSlot* slot = node.layer->weight_slot();
    std::vector<std::string> inputs = node.inputs;
    for (std::string& input : inputs) input = now(input);
    const Rule* rule = rule_for(rules_, node.name);
    if (slot == nullptr || rule == nullptr) {
      result_.add(node.name, node.layer, inputs);
      return;
    }
    const std::string real = inputs[0];
    std::shared_ptr<Layer> scale;
    if (!rule->weight.json.is_null()) put_weight_quantizer(*slot, node, rule->weight);
    if (!rule->act.json.is_null() && rule->place == "inputs") {
      inputs[0] = activation_quantizer(node.name, real, *rule);
      scale = output_scale(*result_.node(inputs[0]).layer, *node.layer->facts().gemm, rule->act);
    }
    std::string last = result_.add(node.name, node.layer, inputs);
    if (scale) last = result_.add(node.name + ".scale", scale, {last, real});
    if (!rule->grad.json.is_null())
      last = result_.add(node.name + ".grad", make_gradient_quantizer(rule->grad), {last});
    if (last != node.name) now_[node.name] = last;
  }
  /// What has taken the place of a real node for its readers.
  std::string now(const std::string& name) const {
    const auto found = now_.find(name);
    return found == now_.end() ? name : found->second;
  }
  Graph take() { return std::move(result_); }

 private:
  static void put_weight_quantizer(WeightSlot& slot, const Node& node, const Config& config) {
    if (!slot.empty())
      config.fail("the weight of '" + node.name + "' already has a quantizer, '" + std::string(slot.get()->type()) +
                  "'");
    const std::optional<GemmForm> gemm = node.layer->facts().gemm;
    NIBBLE_CHECK(gemm, "quantize: layer '", node.name, "' has a weight slot but no weight");
    slot.set(make_quantizer(for_weight(config, gemm->weight, node.name)));
  }

  /// Name of the node that quantizes `real`, the input of a layer.
  std::string activation_quantizer(const std::string& node, const std::string& real, const Rule& rule) {
    if (result_.contains(real) && dynamic_cast<const Quantizer*>(result_.node(real).layer.get()) != nullptr)
      rule.act.fail("the input of '" + node + "' already has a quantizer, '" + real + "'");
    const Config config = for_activation(rule.act, node, result_, real);
    const std::string shared = real + " " + config.json.dump();
    if (rule.share_act && shared_.contains(shared)) return shared_[shared];
    const std::string name = result_.add(node + ".act", make_quantizer(config), {real});
    if (rule.share_act) shared_[shared] = name;
    return name;
  }

  static std::shared_ptr<Layer> output_scale(const Layer& layer, const GemmForm& gemm, const Config& config) {
    try {
      return dynamic_cast<const Quantizer&>(layer).output_scale(gemm);
    } catch (const Error& error) {
      config.fail(error.what());
    }
  }

  std::vector<Rule> rules_;
  Graph result_;
  std::map<std::string, std::string> shared_, now_;
};

/// The quantizer behind a site, or null.
std::shared_ptr<Layer> output_quantizer(const std::vector<Rule>& rules, const Graph& graph, const OutputSite& site) {
  const Rule* rule = rule_for(rules, site.head);
  if (rule == nullptr || rule->place != "outputs" || rule->act.json.is_null()) return nullptr;
  const auto quantizer = make_quantizer(for_activation(rule->act, site.after, graph, site.after));
  try {
    quantizer->output_scale({});  // has none to scale here, and says so if it needs one
  } catch (const Error& error) {
    rule->act.fail(error.what());
  }
  return quantizer;
}

}  // namespace

std::vector<FieldDoc> quant_rule_fields() { return list_options<Rule>(); }

Graph quantize(const Graph& real, const Config& section) {
  const std::vector<Rule> rules = read_rules(section, real);
  const Graph copy = with_folds(real, rules);
  Rewriter rewriter(copy, rules);
  for (const Node& node : copy.nodes()) rewriter.copy(node);
  Graph result = rewriter.take();
  std::vector<std::string> outputs = copy.outputs();
  for (std::string& name : outputs) name = rewriter.now(name);
  result.set_outputs(outputs);
  return quantize_outputs(result, [&](const OutputSite& site) { return output_quantizer(rules, result, site); });
}

}  // namespace nibble
