#include <map>
#include <set>

#include "apps/run_parts.h"
#include "apps/train_state.h"
#include "apps/train_step.h"
#include "core/registry.h"
#include "layers/checkpoint.h"
#include "layers/model.h"
#include "layers/quantizer.h"
#include "quant/gradient_quantizer.h"
#include "quant/start.h"
#include "tests/apps/scratch.h"
#include "tests/quant/lowering/support.h"
#include "tests/quant/small_networks.h"

/// Every network with every quantizer, by configs as a user writes them.
namespace nibble {
namespace {

using namespace test;

constexpr int kImages = 6, kClasses = 3;
constexpr int64_t kSteps = 2;

#ifdef __has_feature
#define NIBBLE_HAS_FEATURE(name) __has_feature(name)
#else
#define NIBBLE_HAS_FEATURE(name) 0
#endif
/// With sanitizers everything takes eight times as long: then each network meets one method.
#if defined(__SANITIZE_ADDRESS__) || NIBBLE_HAS_FEATURE(address_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

/// What a method does with the first and the last layer.
enum class Ends { real, bits8, same };

struct Method {
  Json rule;  ///< but for its pattern
  Ends ends = Ends::real;
  int phases = 1;
  bool signs = false;  ///< activations become their signs, so that none may be behind a ReLU
};

Method both(const Json& weight, const Json& act, Ends ends = Ends::real) {
  return {{{"weight", weight}, {"act", act}}, ends};
}
Method weights(const Json& weight) { return {{{"weight", weight}}}; }
Method signs(const Json& weight, const Json& act) { return {{{"weight", weight}, {"act", act}}, Ends::real, 1, true}; }
/// Incremental methods, that fix the weights of all layers, in as many steps as there are phases.
Method fixing(const Json& weight, const Json& act) { return {{{"weight", weight}, {"act", act}}, Ends::same, kSteps}; }

/// Every registered quantizer, in three groups of equal size: levels at equal distances, few or uneven levels, real
/// activations (or weights that become fixed).
std::vector<Method> methods() {
  const Json bnn{{"type", "bnn"}}, xnor{{"type", "xnor"}}, affine = with_bits("affine", 8);
  Method folded{{{"weight", affine}, {"act", affine}, {"place", "outputs"}, {"fold_batch_norm", Json::object()}},
                Ends::same};
  Method gradients = both(with_bits("dorefa", 1), with_bits("dorefa", 2));
  gradients.rule["grad"] = {{"type", "dorefa_gradient"}, {"bits", 6}};
  Json pact = with_bits("pact", 4);
  pact["alpha"] = 1;  // it learns from what lies above it
  Json qil = with_bits("qil", 3);
  qil["lr_factor"] = 1;
  Json per_channel = with_bits("affine", 6);
  per_channel["per_channel"] = true;
  return {
      folded,
      both(with_bits("lsq", 4), with_bits("lsq", 4), Ends::bits8),
      both(per_channel, with_bits("affine", 8), Ends::same),
      both(with_bits("dorefa", 4), pact),
      both({{"type", "twn"}}, with_bits("lsq", 8)),
      both(qil, qil),
      both(with_bits("lq", 2), with_bits("lq", 2)),
      gradients,
      signs(bnn, bnn),
      signs(xnor, xnor),
      both({{"type", "hwgq"}}, with_bits("hwgq", 2)),
      both(with_bits("abc", 3), with_bits("abc", 3)),
      weights({{"type", "ttq"}}),
      weights({{"type", "bwn"}}),
      weights({{"type", "binaryconnect"}}),
      fixing({{"type", "elq"}, {"bounds", {0.2, 0.0}}}, Json()),
      fixing({{"type", "inq"}, {"portions", {0.5, 1.0}}}, Json()),
      fixing({{"type", "elq"}, {"levels", "binary"}, {"bounds", {0.2, 0.0}}}, with_bits("lsq", 4)),
  };
}

/// The three methods, one of each group, with which network `i` does everything.
bool thorough(size_t network, size_t method, size_t methods) {
  const size_t turn = (method + methods - network % methods) % methods;
  return turn == 0 || (!kSanitized && turn % (methods / 3) == 0);
}

/// "first|last": the layers at the ends of the network, further outputs included.
std::string ends_of(const Graph& graph) {
  std::string names;
  for (const Node& node : graph.nodes()) {
    const bool closes = std::ranges::count(graph.outputs(), node.name) > 0;
    if (node.layer->weight_slot() != nullptr && (names.empty() || closes))
      names += (names.empty() ? "" : "|") + node.name;
  }
  return names;
}

Json rules_of(const Method& method, const std::string& ends) {
  Json rules = Json::array();
  if (method.ends == Ends::real) rules.push_back({{"match", ends}});
  if (method.ends == Ends::bits8)
    rules.push_back({{"match", ends}, {"weight", with_bits("lsq", 8)}, {"act", with_bits("lsq", 8)}});
  rules.push_back(method.rule);
  rules.back()["match"] = "*";
  return rules;
}

RunConfig config_of(const Json& model, const std::string& ends, const Method& method) {
  Json schedule = nullptr;
  if (method.phases > 1) schedule = {{"type", "phases"}, {"count", method.phases}};
  return read_run_config(Config({{"name", "cell"},
                                 {"model", model},
                                 {"data", {{"type", "folder"}, {"root", "none"}, {"classes", kClasses}}},
                                 {"quant", rules_of(method, ends)},
                                 // Its steps have a size of their own, whatever the gradients'.
                                 {"optim", {{"type", "adagrad"}, {"lr", 1e-3}, {"schedule", schedule}}}},
                                "cell.json"));
}

/// What a config says without its data: of the network `real`, which is copied.
RunParts parts_of(const RunConfig& config, const Graph& real) {
  RunParts parts;
  parts.graph = quantize(real, config.quant);
  parts.optimizer = Registry<Optimizer>::get().make(config.optim);
  parts.rate = std::make_shared<LearningRate>(parts.optimizer->options());
  return parts;
}

/// A run without its files: steps 0 and 1 of two.
class Run {
 public:
  Run(const RunConfig& config, RunParts parts)
      : parts_(std::move(parts)), step_(parts_.graph, parts_.optimizer, config.loss), rng_(config.seed) {
    attach_optimizer(parts_, config);
  }
  const Graph& graph() const { return parts_.graph; }

  void step(int64_t number) {
    const Clock now{number, kSteps, kSteps};
    const Phase phase = parts_.rate->phase(now);
    Batch batch;
    batch.images = images(graph(), kImages, 10 + static_cast<uint64_t>(number));
    const std::vector<int32_t> classes{0, 1, 2, 0, 1, 2};
    batch.labels = Tensor::from<int32_t>({kImages}, std::span<const int32_t>(classes));
    if (number > 0 && phase.begin == number) parts_.optimizer->reset_state();
    step_.run(batch, {number, kSteps, phase.index, phase.count, parts_.rate->at(now), parts_.rate->share(now)}, rng_);
  }

  void save(const std::string& path) {
    TrainState state;
    state.rng = rng_;
    auto extra = state.tensors();
    parts_.optimizer->visit_state(
        [&](const std::string& name, Tensor& tensor) { extra.emplace_back("train/optim/" + name, tensor); });
    save_checkpoint(path, graph(), Json::object(), extra);
  }
  void restore(const TensorFile& file) {
    load_state(graph(), file, "the checkpoint");
    rng_ = TrainState::from(file, "the checkpoint").rng;
    parts_.optimizer->visit_state(
        [&](const std::string& name, Tensor& tensor) { tensor.copy_from(*file.find("train/optim/" + name)); });
  }

 private:
  RunParts parts_;
  TrainStep step_;
  Rng rng_;
};

std::map<std::string, Tensor> copies(const std::vector<NamedTensor>& state) {
  std::map<std::string, Tensor> result;
  for (const NamedTensor& named : state) result[named.name] = named.tensor.clone();
  return result;
}

/// Whether `parameter` is the centre of QIL's interval in front of a linear layer or a 1x1 convolution: where all
/// values lie in the interval, moving it adds a constant to the layer's output, which the batch norm behind it takes
/// away.
bool shifts_only(const Graph& graph, const std::string& parameter) {
  constexpr std::string_view kCentre = ".act.center";
  if (!parameter.ends_with(kCentre)) return false;
  const Node& node = graph.node(parameter.substr(0, parameter.size() - kCentre.size()));
  const Tensor weight = node.layer->facts().gemm->weight;
  return weight.numel() == weight.dim(0) * weight.dim(1);
}

/// Parameters that a step left as they were, but those that are frozen as a whole: the weights of incremental methods
/// in the last phase.
std::string unmoved(const Graph& graph, const std::map<std::string, Tensor>& before) {
  std::string names;
  for (const NamedTensor& named : parameters_of(graph)) {
    const Tensor& mask = named.traits.mask;
    if (mask.defined() && std::ranges::count(mask.data<uint8_t>(), uint8_t{0}) == mask.numel()) continue;
    if (shifts_only(graph, named.name)) continue;
    if (same_bits(named.tensor, before.at(named.name))) names += named.name + " ";
  }
  return names;
}

/// Names of what differs in the states of two networks.
std::string different(const Graph& a, const Graph& b) {
  const std::map<std::string, Tensor> others = copies(state_of(b));
  std::string names;
  for (const NamedTensor& named : state_of(a))
    if (!same_bits(named.tensor, others.at(named.name))) names += named.name + " ";
  return names;
}

void check_step(Run& run, int64_t step) {
  CAPTURE(step);
  const auto before = copies(parameters_of(run.graph()));
  run.step(step);
  CHECK(unmoved(run.graph(), before) == "");
}

/// `run` after two steps: the same weights by way of the file saved between them, the same answers from one of now.
void check_saving(const RunConfig& config, Run& run, const std::string& between, const Tensor& x) {
  Run resumed(config, build_parts(config));
  resumed.restore(read_safetensors(between));
  resumed.step(1);
  CHECK(different(run.graph(), resumed.graph()) == "");
  run.save(between);
  const Graph loaded = load_checkpoint(between).graph;
  CHECK(loaded.to_json() == run.graph().to_json());
  CHECK(same_bits(loaded.forward(x, {}), run.graph().forward(x, {})));
}

/// Says of any layer that it is faster in one engine than in the others.
class AnyTime final : public EngineClock {
 public:
  double seconds(LoweredLayer&, const Shape&) override { return 1.0 + (++calls_ * 7) % 5; }

 private:
  int calls_ = 0;
};

/// Nodes with weights, and nodes whose inputs were codes, that stayed in float without a reason.
std::string unexplained(const Lowered& lowered) {
  std::string names;
  for (const Decision& d : lowered.report)
    if (d.became == "float" && d.refusals.empty()) names += d.node + " ";
  return names;
}

/// Every engine gives the bits of evaluation on codes; of the one that mixes them all, every edge is compared.
void check_lowering(const Graph& graph, const Tensor& x) {
  const Evaluated codes = evaluated(graph, {.engine = "float"});
  CHECK(codes.why_real == "");
  const Tensor expected = codes.graph.forward(x, {});
  for (const std::string engine : {"int8", "bits", "any", "auto"}) {
    CAPTURE(engine);
    AnyTime clock;
    const Lowered lowered = lower(graph, {.engine = engine}, &clock);
    CHECK(unexplained(lowered) == "");
    CHECK(lowered.graph.outputs().size() == 1);
    CHECK(same_bits(lowered.graph.forward(x, {}), expected));
    if (engine != "auto") continue;
    for (const EdgeParity& edge : compare(graph, codes.graph, lowered.graph, x).edges) {
      CAPTURE(edge.node);
      CHECK(broken(edge) == "");
    }
  }
}

/// Quantizing the network as it was initialised, without training.
void check_calibration(const RunConfig& config) {
  const RunParts parts = build_parts(config);
  const std::vector<Tensor> batches{images(parts.graph, kImages, 3)};
  for (const StartLine& line : start_quantizers(parts.graph, batches)) {
    CAPTURE(line.node);
    CHECK(line.lowest < line.highest);
  }
  check_state_finite(parts.graph);
}

/// Types that rules name as "weight", "act" or "grad".
void collect_types(const Json& rules, std::set<std::string>& types) {
  for (const Json& rule : rules)
    for (const char* key : {"weight", "act", "grad"})
      if (rule.contains(key) && !rule[key].is_null()) types.insert(rule[key]["type"].get<std::string>());
}

std::set<std::string> registered_quantizers() {
  std::set<std::string> names{"dorefa_gradient"};
  for (const auto& [name, entry] : Registry<Layer>::get().entries()) {
    const bool role = std::ranges::any_of(entry.fields, [](const FieldDoc& field) { return field.key == "role"; });
    if (role && !name.starts_with("test_")) names.insert(name);
  }
  return names;
}

std::set<std::string> registered_networks() {
  std::set<std::string> names;
  for (const auto& entry : Registry<Graph>::get().entries())
    if (entry.first != "graph") names.insert(entry.first);
  return names;
}

/// A network of the zoo with three classes, as built and as binarized activations need it: without ReLUs, behind which
/// every sign is the same.
struct Subject {
  Json model;
  Graph real;

  Subject(Json options, bool signs) : model(std::move(options)) {
    model["classes"] = kClasses;
    if (signs && model["type"] != "small_resnet") model["activation"] = "none";
    real = build_model(Config(model));
    real.initialize(RunConfig().seed);
  }
};

void check_cell(const Subject& subject, const Method& method, bool all) {
  CAPTURE(subject.model.dump());
  CAPTURE(method.rule.dump());
  const RunConfig config = config_of(subject.model, ends_of(subject.real), method);
  Run run(config, parts_of(config, subject.real));
  check_step(run, 0);
  const Scratch folder("zoo-matrix");
  const std::string file = folder / "run.safetensors";
  if (all) run.save(file);
  check_step(run, 1);
  if (!all) return;
  const Tensor x = images(run.graph(), 2, 5);
  check_saving(config, run, file, x);
  check_calibration(config);
  check_lowering(run.graph(), x);
}

}  // namespace

// Every network with every method is trained; three methods of different kinds with each network (so each method with
// four networks or more), in turns, are also saved, resumed, calibrated and lowered.
TEST_CASE("zoo: every network trains with every quantizer, is saved, resumes, and lowers") {
  const std::vector<Json> networks = small_networks();
  const std::vector<Method> list = methods();
  std::set<std::string> models, quantizers;
  const int threads_before = threads();
  set_threads(1);  // there is too little to do for more
  for (size_t i = 0; i < networks.size(); ++i) {
    models.insert(networks[i]["type"].get<std::string>());
    const Subject plain(networks[i], false), silent(networks[i], true);
    for (size_t j = 0; j < list.size(); ++j) {
      collect_types(rules_of(list[j], ""), quantizers);
      const bool all = thorough(i, j, list.size());
      if (all || !kSanitized) check_cell(list[j].signs ? silent : plain, list[j], all);
    }
  }
  set_threads(threads_before);
  CHECK(models == registered_networks());
  CHECK(quantizers == registered_quantizers());
}

}  // namespace nibble
