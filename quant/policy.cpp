#include "quant/policy.h"

#include <algorithm>
#include <map>

#include "core/glob.h"
#include "layers/weight_slot.h"
#include "quant/fold_batch_norm.h"
#include "quant/output_placement.h"

namespace nibble {

namespace {

struct Rule {
  std::string match;
  Config weight{nullptr}, act{nullptr};
  bool share_act = false;
  std::string place = "inputs";
  Config fold_batch_norm{nullptr};
  void fields(Fields& f) {
    f.required()("match", match, "pattern of node names: '*', '?', and '|' between alternatives");
    f.raw("weight", weight, "a quantizer or null", "what the weight passes through");
    f.raw("act", act, "a quantizer or null", "what the layer's input passes through");
    f("share_act", share_act, "layers that read the same tensor share one activation quantizer");
    f.choice("place", place, {"inputs", "outputs"},
             "where \"act\" goes: in front of the layer, or, as integer inference needs it, behind the layer (or add, "
             "concat, or the network's \"input\") with its batch norm and activation function");
    f.raw(
        "fold_batch_norm", fold_batch_norm, "an object or null",
        "fold the batch norm behind the layer into its weight before that is quantized; \"mode\" and \"freeze\" as in "
        "conv2d_bn");
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

std::shared_ptr<Quantizer> make_quantizer(const Config& config) {
  auto quantizer = std::dynamic_pointer_cast<Quantizer>(Registry<Layer>::get().make(config));
  if (quantizer == nullptr) config.fail("'" + config.type() + "' is no quantizer");
  return quantizer;
}

Config for_weight(Config config, const Tensor& weight) {
  const int64_t channels = weight.dim(0), window = weight.rank() == 4 ? weight.dim(2) * weight.dim(3) : 1;
  fill_in(config, "role", "weight");
  fill_in(config, "signed", true);
  fill_in(config, "channels", channels);
  fill_in(config, "fan_in", weight.numel() / channels);
  fill_in(config, "fan_out", window * channels);
  return config;
}

Config for_activation(Config config) {
  fill_in(config, "role", "act");
  return config;
}

std::vector<Rule> read_rules(const Config& section, const Graph& graph) {
  if (!section.json.is_array()) section.fail("expected a list of rules");
  std::vector<Rule> rules;
  for (size_t i = 0; i < section.json.size(); ++i) {
    rules.push_back(read_options<Rule>(section.at(i), {}));
    const bool anywhere = rules.back().place == "outputs";
    const auto fits = [&](const Node& node) {
      return (anywhere || node.layer->weight_slot() != nullptr) && glob_match(rules.back().match, node.name);
    };
    if (std::ranges::none_of(graph.nodes(), fits) && !(anywhere && glob_match(rules.back().match, "input"))) {
      section.at(i).at("match").fail("the pattern '" + rules.back().match +
                                     "' matches no layer that can carry a quantizer (conv2d, linear)");
    }
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
    const Rule* rule = rule_for(rules_, node.name);
    if (slot != nullptr && rule != nullptr) {
      if (!rule->weight.json.is_null()) put_weight_quantizer(*slot, node, rule->weight);
      if (!rule->act.json.is_null() && rule->place == "inputs") inputs[0] = activation_quantizer(node, *rule);
    }
    result_.add(node.name, node.layer, inputs);
  }
  Graph take() { return std::move(result_); }

 private:
  static void put_weight_quantizer(WeightSlot& slot, const Node& node, const Config& config) {
    const std::optional<GemmForm> gemm = node.layer->facts().gemm;
    NIBBLE_CHECK(gemm, "quantize: layer '", node.name, "' has a weight slot but no weight");
    slot.set(make_quantizer(for_weight(config, gemm->weight)));
  }

  /// Name of the node that quantizes the layer's input.
  std::string activation_quantizer(const Node& node, const Rule& rule) {
    const Config config = for_activation(rule.act);
    const std::string shared = node.inputs[0] + " " + config.json.dump();
    if (rule.share_act && shared_.contains(shared)) return shared_[shared];
    const std::string name = result_.add(node.name + ".act", make_quantizer(config), {node.inputs[0]});
    if (rule.share_act) shared_[shared] = name;
    return name;
  }

  std::vector<Rule> rules_;
  Graph result_;
  std::map<std::string, std::string> shared_;
};

}  // namespace

std::vector<FieldDoc> quant_rule_fields() { return list_options<Rule>(); }

Graph quantize(const Graph& real, const Config& section) {
  const std::vector<Rule> rules = read_rules(section, real);
  const Graph copy = with_folds(real, rules);
  Rewriter rewriter(copy, rules);
  for (const Node& node : copy.nodes()) rewriter.copy(node);
  Graph result = rewriter.take();
  result.set_outputs(copy.outputs());
  return quantize_outputs(result, [&](const OutputSite& site) -> std::shared_ptr<Layer> {
    const Rule* rule = rule_for(rules, site.head);
    if (rule == nullptr || rule->place != "outputs" || rule->act.json.is_null()) return nullptr;
    return make_quantizer(for_activation(rule->act));
  });
}

}  // namespace nibble
