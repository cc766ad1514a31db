#include <chrono>
#include <map>
#include <set>

#include "apps/float_peak.h"
#include "apps/step_profile.h"
#include "apps/train_step.h"
#include "core/file.h"
#include "layers/describe.h"
#include "quant/policy.h"
#include "tests/apps/outcome.h"
#include "tests/apps/scratch.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;
using profile::Stage;

namespace {

Json small_config() {
  return {{"model", {{"type", "small_resnet"}, {"width", 4}, {"classes", 10}}},
          {"data", {{"type", "embedded"}, {"train", 40}, {"test", 10}, {"batch", 4}, {"workers", 0}}},
          {"quant",
           {{{"match", "conv1"}, {"weight", nullptr}, {"act", nullptr}},
            {{"match", "*"}, {"weight", {{"type", "lsq"}, {"bits", 2}}}, {"act", {{"type", "lsq"}, {"bits", 2}}}}}},
          {"optim", {{"type", "sgd"}, {"lr", 0.01}, {"momentum", 0.9}}}};
}

constexpr int64_t kBatch = 4;

/// A small residual network with LSQ in all but the first layer, and a training step of it.
struct Training {
  Graph graph;
  std::unique_ptr<TrainStep> step;
  Batch batch;
  Rng rng{3};

  Training() {
    const Json config = small_config();
    const Graph real = build_model(Config(config["model"]));
    real.initialize(1);
    graph = quantize(real, Config(config["quant"]));
    const std::shared_ptr<Optimizer> sgd = Registry<Optimizer>::get().make(Config(config["optim"]));
    std::vector<Param> params;
    for (const NamedTensor& named : parameters_of(graph)) params.push_back({named.name, named.tensor});
    sgd->attach(std::move(params));
    step = std::make_unique<TrainStep>(graph, sgd, LossOptions{});
    const Shape image = graph.input_shape();
    const std::vector<int32_t> labels{0, 1, 2, 3};
    batch = {normal_tensor({kBatch, image[0], image[1], image[2]}, 5), Tensor::from<int32_t>({kBatch}, labels)};
  }

  void run() { step->run(batch, {.lr = 0.01}, rng); }
};

/// What the parameters and buffers hold.
std::string bits_of(const Graph& graph) {
  std::string bytes;
  for (const NamedTensor& named : state_of(graph))
    bytes.append(reinterpret_cast<const char*>(named.tensor.raw()), named.tensor.bytes());
  return bytes;
}

}  // namespace

TEST_CASE("profile: every product has its passes, the first layer no gradient of its input, with the FLOP of inspect") {
  Training training;
  training.run();
  profile::Recorder recorder;
  training.run();
  std::map<std::string, std::map<Stage, double>> flop;
  std::set<std::string> kernels;
  for (const profile::Event& event : recorder.events()) {
    if (event.work.flop == 0) continue;
    flop[event.layer][event.stage] += event.work.flop;
    kernels.insert(event.work.kernel);
    CHECK(event.work.bytes > 0);
    CHECK(event.work.shapes.find("w [") != std::string::npos);
  }
  size_t products = 0;
  for (const NodeInfo& node : describe(training.graph)) {
    if (node.macs == 0) continue;
    CAPTURE(node.name);
    const double expected = 2.0 * static_cast<double>(node.macs * kBatch);
    auto& passes = flop[node.name];
    CHECK(passes[Stage::forward] == expected);
    CHECK(passes[Stage::backward_weights] == expected);
    CHECK(passes[Stage::backward_data] == (products == 0 ? 0 : expected));
    CHECK(passes.size() == 3);
    ++products;
  }
  CHECK(products > 5);
  CHECK(flop.size() == products);
  for (const std::string& kernel : kernels) CHECK_FALSE(kernel.empty());
}

TEST_CASE("profile: the spans' own times make up the step, quantizers and loss and update among them") {
  Training training;
  training.run();
  profile::Recorder recorder;
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    recorder.clear();
    const auto begin = std::chrono::steady_clock::now();
    training.run();
    const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    int64_t own = 0, outermost = 0;
    for (const profile::Event& event : recorder.events()) {
      CHECK(event.own >= 0);
      own += event.own;
      if (event.depth == 0) outermost += event.end - event.begin;
    }
    CHECK(own == outermost);
    CHECK(1e-9 * static_cast<double>(own) <= wall);
    best = std::max(best, 1e-9 * static_cast<double>(own) / wall);
  }
  CHECK(best > 0.95);
  std::map<std::pair<Stage, std::string>, int> count;
  for (const profile::Event& event : recorder.events()) ++count[{event.stage, event.op}];
  CHECK(count[{Stage::quantizer, "lsq"}] > 5);
  CHECK(count[{Stage::quantizer_backward, "lsq"}] == count[{Stage::quantizer, "lsq"}]);
  CHECK(count[{Stage::backward, "batch_norm"}] == count[{Stage::forward, "batch_norm"}]);
  CHECK(count[{Stage::loss, "softmax_cross_entropy"}] == 2);  // and its gradient
  CHECK(count[{Stage::optimizer, "update"}] == 1);
}

TEST_CASE("profile: training gives the same bits with and without") {
  Training plain, recorded;
  for (int i = 0; i < 2; ++i) plain.run();
  {
    profile::Recorder recorder;
    for (int i = 0; i < 2; ++i) recorded.run();
    CHECK_FALSE(recorder.events().empty());
  }
  CHECK(bits_of(plain.graph) == bits_of(recorded.graph));
}

TEST_CASE("profile: rows are medians per step in the order of the layers") {
  const auto event = [](const char* layer, const char* op, Stage stage, int64_t begin, int64_t end, double flop) {
    profile::Event e;
    e.layer = layer, e.op = op, e.stage = stage, e.begin = begin, e.end = end, e.own = end - begin;
    e.work = {.flop = flop, .bytes = 8, .kernel = flop > 0 ? "fast" : "", .shapes = "[2]"};
    return e;
  };
  StepProfile steps;
  for (const int64_t slow : {1000, 3000, 2000})
    steps.add({event("b", "conv2d", Stage::backward_weights, 9000, 9000 + slow, 6),
               event("a", "relu", Stage::forward, 0, 1000, 0), event("b", "conv2d", Stage::forward, 1000, 2000, 6),
               event("b", "conv2d", Stage::forward, 2000, 3000, 6), event("", "update", Stage::optimizer, 0, 0, 0)});
  const Json json = steps.json();
  REQUIRE(json["rows"].size() == 4);
  const auto number = [&](int row, const char* key) { return json["rows"][row][key].get<double>(); };
  CHECK(json["rows"][0]["layer"] == "a");
  CHECK(json["rows"][1]["pass"] == "forward");
  CHECK(json["rows"][2]["pass"] == "backward-weights");
  CHECK(json["rows"][3]["layer"] == "");
  CHECK(number(0, "seconds") == doctest::Approx(1e-6));
  CHECK(number(1, "seconds") == doctest::Approx(2e-6));
  CHECK(number(2, "seconds") == doctest::Approx(2e-6));
  CHECK(number(1, "calls") == 2);
  CHECK(number(1, "flop") == 12);
  CHECK(number(1, "bytes") == 16);
  CHECK(number(2, "share") == doctest::Approx(0.4));
  CHECK(json["rows"][2]["kernel"] == "fast");
  CHECK(json["rows_seconds"].get<double>() == doctest::Approx(5e-6));
  REQUIRE(json["ops"].size() == 4);
  CHECK(json["ops"][2]["op"] == "relu");

  const Json trace = steps.trace();
  REQUIRE(trace.size() == 15);
  CHECK(trace[0]["name"] == "a forward");
  CHECK(trace[4]["dur"].get<double>() == doctest::Approx(1));
  CHECK(trace[5]["ts"].get<double>() == doctest::Approx(10));  // the second step begins where the first ended
  CHECK(trace[5]["args"]["step"] == 1);
}

TEST_CASE("nibble profile: a table, JSON, and a trace of complete events that nest") {
  const Scratch folder("profile");
  const std::string config = folder / "c.json", trace = folder / "trace.json";
  write_file_atomically(config, small_config().dump());
  const Outcome outcome =
      run({"profile", config, "--steps", "2", "--batch", "3", "--threads", "1", "--json", "--trace", trace});
  CAPTURE(outcome.err);
  REQUIRE(outcome.code == 0);
  const Json json = Json::parse(outcome.out);
  CHECK(json["batch"] == 3);
  CHECK(json["system_allocations"] == 0);
  double rows = 0, share = 0, data = 0;
  for (const Json& row : json["rows"]) {
    rows += row["seconds"].get<double>();
    share += row["share"].get<double>();
    if (row["pass"] == "data") data += row["seconds"].get<double>();
  }
  CHECK(data > 0);
  CHECK(share == doctest::Approx(1));
  CHECK(rows == doctest::Approx(json["seconds_per_step"].get<double>()).epsilon(0.2));

  const Json events = Json::parse(read_text_file(trace));
  REQUIRE(events.is_array());
  REQUIRE(events.size() > 100);
  std::vector<double> ends;  // of the events around
  double last = 0;
  int with_flop = 0;
  for (const Json& event : events) {
    CHECK(event["ph"] == "X");
    for (const char* key : {"pid", "tid"}) CHECK(event[key].is_number_integer());
    for (const char* key : {"name", "cat"}) CHECK_FALSE(event[key].get<std::string>().empty());
    const double ts = event["ts"].get<double>(), end = ts + event["dur"].get<double>();
    CHECK(ts >= last);
    last = ts;
    while (!ends.empty() && ends.back() <= ts) ends.pop_back();
    if (!ends.empty()) CHECK(end <= ends.back() + 1e-3);
    ends.push_back(end);
    with_flop += event["args"].contains("flop") && event["args"].contains("shapes") && event["args"].contains("bytes");
  }
  CHECK(with_flop > 30);

  const Outcome table = run({"profile", config, "--steps", "1", "--threads", "1", "--noise"});
  CAPTURE(table.err);
  REQUIRE(table.code == 0);
  for (const char* part : {"layer", "backward-weights", "quantizer", "norm_clamp", "ms per step (median", "together"})
    CHECK(table.out.find(part) != std::string::npos);
  CHECK(run({"profile"}).code == 2);
}

TEST_CASE("nibble bench train: counts what tensors take from the system, and explains the kernels") {
  const Scratch folder("explain");
  const std::string config = folder / "c.json";
  write_file_atomically(config, small_config().dump());
  const Outcome outcome = run({"bench", "train", config, "--steps", "2", "--threads", "1", "--explain", "--json"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.code == 0);
  const Json json = Json::parse(outcome.out);
  CHECK(json["system_allocations"] == 0);
  const Json& explained = json["explain"];
  CHECK(explained["peak_flops"].get<double>() > 0);
  std::map<std::string, std::set<std::string>> passes;
  for (const Json& row : explained["rows"]) {
    if (row["flop"].get<double>() == 0) continue;
    passes[row["layer"].get<std::string>()].insert(row["pass"].get<std::string>());
    CHECK_FALSE(row["kernel"].get<std::string>().empty());
  }
  CHECK(passes.size() > 5);
  CHECK(passes["conv1"] == std::set<std::string>{"forward", "backward-weights"});
  CHECK(passes["linear"] == std::set<std::string>{"forward", "backward-data", "backward-weights"});

  const Outcome table = run({"bench", "train", config, "--steps", "1", "--threads", "1", "--explain"});
  for (const char* part : {"took from the system in these steps: ", "of peak", "direct padded", "gemm", "together"})
    CHECK(table.out.find(part) != std::string::npos);
}
