#include <algorithm>
#include <bit>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "apps/run_parts.h"
#include "core/file.h"
#include "core/glob.h"
#include "core/parallel.h"
#include "core/registry.h"
#include "layers/describe.h"
#include "layers/model.h"
#include "layers/weight_slot.h"
#include "quant/policy.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

const fs::path kConfigs = NIBBLE_SOURCE_DIR "/apps/configs";
constexpr const char* kPapers[] = {"lq-nets", "integer-only", "elq", "lsq", "baselines"};

/// The configs of the papers in order of their paths: rows of tables lie in folders of their own, what they share lies
/// in the folder of the paper (for a baseline in that of the method, under a name without bits).
std::vector<fs::path> paper_configs() {
  std::vector<fs::path> paths;
  for (const char* paper : kPapers)
    for (const auto& entry : fs::recursive_directory_iterator(kConfigs / paper))
      if (entry.path().extension() == ".json") paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// What the end of a row's name says: "fp", "w2", "w2a2", "ternary", "binary", or
/// "m3n3" for ABC-Net's numbers of bases. Zero bits: left in float.
struct Row {
  std::string method;
  int weight_bits = 0, activation_bits = 0;
};

std::optional<Row> row_of(const std::string& name) {
  const std::string end = name.substr(name.rfind('-') + 1);
  Row row{name.substr(0, name.find('-'))};
  if (end == "fp") return row;
  if (end == "binary" || end == "ternary") return Row{row.method, end == "binary" ? 1 : 2, 0};
  if (end.size() == 4 && end[0] == 'm' && end[2] == 'n')  // N bases of activations have N + 1 levels
    return Row{row.method, end[1] - '0', std::countr_zero(std::bit_ceil(static_cast<unsigned>(end[3] - '0' + 1)))};
  if (end.size() < 2 || end[0] != 'w' || end[1] < '0' || end[1] > '9') return std::nullopt;
  row.weight_bits = end[1] - '0';
  if (end.size() == 4 && end[2] == 'a') row.activation_bits = end[3] - '0';
  return row;
}

/// The same network with few channels: its layers, their names and the rules that match them are those of the full one,
/// which takes hundreds of megabytes.
Config narrow(Config model) {
  const auto& fields = Registry<Graph>::get().find(model).fields;
  if (std::any_of(fields.begin(), fields.end(), [](const FieldDoc& field) { return field.key == "width"; }))
    model.json["width"] = 8;
  else
    model.json["multiplier"] = 0.125;
  return model;
}

/// Number of layers with weights, architectures.md, sec. 1.
int layers_of(const Config& model) {
  static const std::map<std::string, int> kLayers = {
      {"vgg_small", 7},          {"vgg7", 8},          {"bnn_convnet", 9},   {"alexnet_bn", 8},
      {"alexnet_xnor", 8},       {"vgg16_bn", 16},     {"vgg_variant", 13},  {"densenet121", 121},
      {"googlenet_variant", 49}, {"inception_v3", 98}, {"mobilenet_v1", 28}, {"alexnet_dorefa", 8},
      {"squeezenext23", 112}};
  const std::string type = model.type();
  if (!type.starts_with("resnet")) return kLayers.at(type);
  int depth = 0;
  std::from_chars(type.data() + 6, type.data() + type.size(), depth);
  const bool cifar = depth % 6 == 2 && depth != 50 && depth != 152;
  const std::string shortcut = model.json.value("shortcut", cifar ? "A" : "B");
  if (shortcut == "A") return depth;
  return depth + (cifar ? 2 : depth < 50 ? 3 : 4);
}

/// What one layer computes with: bits of its weight and of its input, 0 for float.
struct Bits {
  std::string node;
  int weight = 0, input = 0;
};

int bits_or_zero(const Grid& grid) { return std::holds_alternative<Real>(grid) ? 0 : bits_of(grid); }

/// A quantizer of activations counts its levels only when it has seen some.
int activation_bits(Layer& layer) {
  auto* quantizer = dynamic_cast<Quantizer*>(&layer);
  if (quantizer == nullptr) return 0;
  std::vector<float> values(64);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) / 32;
  Rng rng(1);
  const Tensor x = Tensor::from(Shape{1, 4, 4, 4}, values);
  quantizer->forward({&x, 1}, {Mode::train, &rng});
  return bits_or_zero(quantizer->grid());
}

/// Weights drawn at random have no grid: their values are counted.
int weight_bits(const WeightSlot& slot, const Tensor& weight, const Pass& pass) {
  const Tensor used = slot.apply(weight, pass);
  if (const int bits = bits_or_zero(slot.grid(weight)); bits != 0) return bits;
  const std::set<float> values(used.data<float>().begin(), used.data<float>().end());
  return std::countr_zero(std::bit_ceil(values.size()));
}

std::vector<Bits> survey(const Graph& graph, const Phase& phase) {
  const TrainClock clock{.phase = phase.index, .phases = phase.count};
  std::map<std::string, Tensor> tensors;
  for (const NamedTensor& named : parameters_of(graph)) tensors[named.name] = named.tensor;
  std::vector<Bits> found;
  Rng rng(1);
  for (const Node& node : graph.nodes()) {
    WeightSlot* slot = node.layer->weight_slot();
    if (slot == nullptr) continue;
    Bits bits{node.name};
    if (!slot->empty()) {
      const Tensor& weight = tensors.at(node.name + ".weight");
      bits.weight = weight_bits(*slot, weight, {.mode = Mode::train, .rng = &rng, .clock = &clock});
    }
    if (node.inputs[0] != "input") bits.input = activation_bits(*graph.node(node.inputs[0]).layer);
    found.push_back(bits);
  }
  return found;
}

/// How many phases each quantized weight goes through.
std::vector<int> phases_of(const Graph& graph) {
  std::vector<int> phases;
  for (const Node& node : graph.nodes()) {
    const WeightSlot* slot = node.layer->weight_slot();
    if (slot != nullptr && !slot->empty()) phases.push_back(slot->get()->phases());
  }
  return phases;
}

/// Rows of which every layer is quantized alike.
bool quantizes_all(const std::string& name) {
  return name.starts_with("elq-") || name.starts_with("inq-") || glob_match("bc-*convnet*|bnn-convnet*", name);
}

void check_layers(const std::string& name, const Row& row, const std::vector<Bits>& layers) {
  for (size_t i = 0; i < layers.size(); ++i) {
    CAPTURE(layers[i].node);
    const bool end = i == 0 || i + 1 == layers.size();
    int weight = row.weight_bits, input = row.activation_bits;
    if (end && row.method == "lsq") weight = input = row.weight_bits == 0 ? 0 : 8;
    if (end && row.method != "lsq" && !quantizes_all(name)) weight = input = 0;
    if (i == 0 && name == "bnn-convnet-w1a1") input = 0;
    CHECK(layers[i].weight == weight);
    CHECK(layers[i].input == input);
  }
}

/// Integer inference: all weights, and every activation that is materialised, from the image to the logits. The
/// branches that a concat joins share its quantizer.
void check_integer(const Row& row, const Graph& graph, const std::vector<Bits>& layers) {
  for (const Bits& layer : layers) CHECK(layer.weight == row.weight_bits);
  size_t count = 0;
  bool image = false, logits = false;
  for (const Node& node : graph.nodes()) {
    const int bits = activation_bits(*node.layer);
    if (bits == 0) continue;
    CHECK(bits == row.activation_bits);
    ++count;
    image = image || node.inputs[0] == "input";
    logits = logits || node.inputs[0] == layers.back().node;
  }
  CHECK(image);
  CHECK(logits);
  CHECK(count > layers.size() * 3 / 4);
}

/// Height that a list of transforms ends with; 0 if none sets it.
int64_t side_after(const Json& transforms) {
  int64_t side = 0;
  for (const Json& transform : transforms) {
    if (transform == "random_resized_crop") side = 224;
    if (transform.is_object() && transform.contains("size")) side = transform["size"].get<int64_t>();
  }
  return side;
}

/// Names and shapes of a network's state: what a checkpoint of it holds.
std::map<std::string, std::string> state_shapes(const Config& model) {
  std::map<std::string, std::string> shapes;
  for (const NamedTensor& named : state_of(build_model(narrow(model))))
    shapes[named.name] = concat_text(named.tensor.shape());
  return shapes;
}

/// A paper's protocol, for the rows whose path matches.
struct Protocol {
  const char* path;
  int epochs, batch;
  double lr, weight_decay;
};

/// The first match counts. lq-nets.md sec. 6, lsq.md sec. 2, elq.md sec. 5, integer-only.md sec. 6, baselines.md.
constexpr Protocol kProtocols[] = {
    {"lq-nets/lq-cifar10.json|*/lq-*resnet20-*", 200, 128, 0.1, 1e-4},
    {"lq-nets/lq-cifar10-vgg.json|*/lq-vgg_small-*", 200, 100, 0.02, 5e-4},
    {"*/lq-alexnet-w1a2.json", 64, 256, 0.02, 5e-4},
    {"*/lq-vgg_variant-w1a2.json", 64, 128, 0.01, 5e-4},
    {"lq-nets/lq-imagenet-hwgq.json|lq-nets/*-w1a2.json", 64, 256, 0.1, 5e-5},
    {"lq-nets/*/torch-*", 90, 256, 0.1, 1e-4},
    {"lq-nets/*", 120, 256, 0.1, 1e-4},
    {"lsq/lsq-imagenet.json|lsq/*-fp.json", 90, 256, 0.1, 1e-4},
    {"lsq/table2/*-wd0.5e-4-*-w8a8.json", 1, 256, 0.001, 0.5e-4},
    {"lsq/table2/*-wd0.25e-4-*-w8a8.json", 1, 256, 0.001, 0.25e-4},
    {"lsq/table2/*-wd0.125e-4-*-w8a8.json", 1, 256, 0.001, 0.125e-4},
    {"lsq/table2/*-wd1e-4-*", 90, 256, 0.01, 1e-4},
    {"lsq/table2/*-wd0.5e-4-*", 90, 256, 0.01, 0.5e-4},
    {"lsq/table2/*-wd0.25e-4-*", 90, 256, 0.01, 0.25e-4},
    {"lsq/table2/*-wd0.125e-4-*", 90, 256, 0.01, 0.125e-4},
    {"lsq/table3/*-lr1e-4-*", 90, 256, 1e-4, 0.25e-4},
    {"lsq/*-w8a8.json", 1, 256, 0.001, 1e-4},
    {"lsq/*-w4a4.json", 90, 256, 0.01, 1e-4},
    {"lsq/*-w3a3.json", 90, 256, 0.01, 0.5e-4},
    {"lsq/*-w2a2.json", 90, 256, 0.01, 0.25e-4},
    {"elq/*-resnet18-fp.json", 90, 256, 0.1, 1e-4},
    {"elq/*-alexnet-fp.json", 64, 256, 0.02, 5e-4},
    {"elq/*alexnet*", 80, 256, 0.001, 3e-4},
    {"elq/elq-imagenet.json|elq/*-resnet18-*", 96, 80, 0.001, 3e-4},
    {"elq/elq-cifar10.json|elq/*-resnet20-*|elq/*-resnet56-*", 150, 256, 0.001, 3e-4},
    {"integer-only/*resnet*-fp.json", 90, 256, 0.1, 1e-4},
    {"integer-only/*resnet*", 100, 32, 1e-5, 1e-4},
    {"integer-only/*inception*", 250, 32, 0.045, 4e-5},
    {"integer-only/*mobilenet*", 200, 64, 0.045, 4e-5},
    {"*/dorefa-*alexnet*", 100, 256, 2e-4, 5e-6},
    {"*/ttq-alexnet*|*/twn-alexnet*", 72, 128, 1e-4, 5e-6},
    {"*/ttq-resnet18*|*/bwn-resnet*|*/dorefa-resnet18*|*/abc-*", 90, 256, 0.1, 1e-4},
    {"*/ttq-*", 400, 128, 0.1, 2e-4},
    {"*/twn-vgg7*|*/twn-resnet20*", 160, 100, 0.1, 1e-4},
    {"*/twn-*", 60, 256, 0.1, 1e-4},
    {"*/hwgq-vgg_small*", 200, 100, 0.1, 5e-4},
    {"*/hwgq-alexnet*", 64, 256, 0.02, 5e-4},
    {"*/hwgq-vgg_variant*", 64, 128, 0.01, 5e-4},
    {"*/hwgq-resnet50*", 64, 128, 0.1, 5e-5},
    {"*/hwgq-*", 64, 256, 0.1, 5e-5},
    {"*/inq-alexnet*", 50, 256, 0.003, 5e-4},
    {"*/inq-*-w5.json", 32, 80, 0.001, 5e-4},
    {"*/inq-*-w4.json", 48, 80, 0.001, 5e-4},
    {"*/inq-*-w3.json", 64, 80, 0.001, 5e-4},
    {"*/inq-*-w2.json", 80, 80, 0.001, 5e-4},
    {"*/pact-resnet20*|*/dorefa-resnet20*", 200, 128, 0.1, 2e-4},
    {"*/pact-*", 110, 256, 0.1, 1e-4},
    {"*/dorefa-densenet121*", 120, 256, 0.1, 1e-4},
    {"*/qil-*", 90, 256, 0.01, 1e-4},
    {"*/bc-*convnet*", 500, 50, 0.003, 0},
    {"*/bc-adam-*-w1.json", 200, 128, 0.003, 1e-4},
    {"*/bc-adam-*-fp.json", 200, 128, 0.001, 1e-4},
    {"*/bnn-convnet*", 500, 50, 0.001, 0},
    {"*/xnor-alexnet*|*/bnn-alexnet*", 52, 800, 0.001, 5e-4},
    {"*/bwn-alexnet*", 14, 128, 0.01, 5e-4},
    {"*/xnor-resnet18*", 90, 256, 0.001, 1e-5},
    {"*/xnor-vgg_small*", 200, 100, 0.001, 5e-4},
};

/// A start or a teacher in "runs/NAME" must be the run of a config here, of a network with the same state.
void check_run(const std::string& folder, const Config& model, const std::map<std::string, Config>& models) {
  CAPTURE(folder);
  REQUIRE(folder.starts_with("runs/"));
  const auto found = models.find(folder.substr(5));
  REQUIRE(found != models.end());
  CHECK(state_shapes(found->second) == state_shapes(model));
}

}  // namespace

TEST_CASE("paper configs: each builds its network with the quantizers that its name says") {
  // Weights this small are no work for several threads.
  const int threads_before = threads();
  set_threads(1);
  std::set<std::string> names;
  std::map<std::string, Graph> networks;
  for (const fs::path& path : paper_configs()) {
    CAPTURE(path.string());
    const RunConfig config = load_run_config(path.string(), {});
    CHECK(config.name == path.stem().string());
    CHECK_MESSAGE(names.insert(config.name).second, "two runs of one name would share a folder");

    const Config model = narrow(config.model);
    auto known = networks.find(model.json.dump());
    if (known == networks.end()) {
      known = networks.emplace(model.json.dump(), build_model(model)).first;
      known->second.initialize(config.seed);
    }
    const Graph& real = known->second;
    RunParts parts;
    parts.graph = config.quant.json.is_null() ? real : quantize(real, config.quant);
    parts.optimizer = Registry<Optimizer>::get().make(config.optim);
    attach_optimizer(parts, config);  // patterns of parameters that match none throw

    // Weights that are fixed in phases need a rate with as many.
    const LearningRate rate(parts.optimizer->options());
    const Phase phase = rate.phase({.step = 0, .steps_per_epoch = 10, .total_steps = 10000});
    const std::vector<Bits> layers = survey(parts.graph, phase);
    for (const int count : phases_of(parts.graph)) CHECK(count == phase.count);
    CHECK(static_cast<int>(layers.size()) == layers_of(config.model));
    const std::optional<Row> row = row_of(config.name);
    if (!row) continue;  // what rows share
    if (row->method == "integer" && row->weight_bits > 0)
      check_integer(*row, parts.graph, layers);
    else
      check_layers(config.name, *row, layers);
  }
  CHECK(names.size() > 250);
  set_threads(threads_before);
}

TEST_CASE("paper configs: their protocols are those of the papers") {
  for (const fs::path& path : paper_configs()) {
    const std::string name = fs::relative(path, kConfigs).string();
    CAPTURE(name);
    const RunConfig config = load_run_config(path.string(), {});
    const auto protocol = std::find_if(std::begin(kProtocols), std::end(kProtocols),
                                       [&](const Protocol& p) { return glob_match(p.path, name); });
    REQUIRE(protocol != std::end(kProtocols));
    const auto optimizer = Registry<Optimizer>::get().make(config.optim);
    const auto source = build_source(config.data);
    CHECK(config.train.epochs == protocol->epochs);
    CHECK(source->options().batch == protocol->batch);
    CHECK(optimizer->options().lr == doctest::Approx(protocol->lr).epsilon(1e-9));
    CHECK(optimizer->options().weight_decay == doctest::Approx(protocol->weight_decay).epsilon(1e-9));

    const Graph real = build_model(narrow(config.model));
    if (config.data.type() == "folder") {
      CHECK(side_after(source->options().augment.json) == real.input_shape()[0]);
      CHECK(side_after(source->options().transform.json) == real.input_shape()[0]);
    }
  }
}

TEST_CASE("every config can be checked where its images are not") {
  std::map<std::string, int64_t> outputs;
  for (const auto& entry : fs::recursive_directory_iterator(kConfigs)) {
    if (entry.path().extension() != ".json") continue;
    CAPTURE(entry.path().string());
    const RunConfig config = load_run_config(entry.path().string(), {});
    Config model = narrow(config.model);
    const auto [output, fresh] = outputs.try_emplace(model.json.dump());
    if (fresh) output->second = output_shape(build_model(model), model)[1];
    Config elsewhere = config.data;
    if (elsewhere.json.contains("root")) elsewhere.json["root"] = "no-such-folder";
    CHECK(build_source(elsewhere)->classes() == output->second);
  }
}

TEST_CASE("paper configs: the runs that they start from and learn from are configs of the same network") {
  std::map<std::string, Config> models;
  for (const auto& entry : fs::recursive_directory_iterator(kConfigs))
    if (entry.path().extension() == ".json")
      models[entry.path().stem().string()] = load_run_config(entry.path().string(), {}).model;
  int starts = 0, teachers = 0;
  for (const fs::path& path : paper_configs()) {
    CAPTURE(path.string());
    const RunConfig config = load_run_config(path.string(), {});
    if (!config.train.init.empty()) {
      check_run(config.train.init, config.model, models);
      ++starts;
    }
    if (config.loss.teacher.json.is_null()) continue;
    check_run(config.loss.teacher.json["checkpoint"].get<std::string>(), config.model, models);
    ++teachers;
  }
  CHECK(starts >= 80);
  CHECK(teachers == 15);
}

TEST_CASE("paper configs: the table of each paper names every config") {
  for (const fs::path& path : paper_configs()) {
    const fs::path paper = kConfigs / *fs::relative(path, kConfigs).begin();
    const std::string link = fs::relative(path, paper).replace_extension().string();
    CAPTURE(link);
    CHECK(read_text_file((paper / "README.md").string()).find("`" + link + "`") != std::string::npos);
  }
}

}  // namespace nibble
