#include "apps/teacher.h"

#include <cmath>
#include <sstream>

#include "apps/trainer.h"
#include "core/allocator.h"
#include "layers/checkpoint.h"
#include "layers/model.h"
#include "tests/apps/scratch.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

constexpr int kClasses = 10;

/// A network without batch norm, small enough to be differentiated by hand.
Config student_config(const std::string& teacher) {
  Config config = parse_config(R"({
    "name": "student",
    "model": {"type": "graph", "nodes": [
      {"name": "pool", "type": "global_avg_pool"},
      {"name": "fc", "type": "linear", "in": 3, "out": 10}]},
    "data": {"type": "embedded", "train": 96, "test": 20, "batch": 16, "eval_batch": 10},
    "optim": {"type": "sgd", "lr": 0.5, "momentum": 0.9},
    "loss": {"teacher": {"checkpoint": ""}},
    "train": {"epochs": 2}})",
                               "student.json");
  config.json["loss"]["teacher"]["checkpoint"] = teacher;
  return config;
}

/// Another network than the student's, with batch norm, dropout and a quantizer.
Json teacher_model(int classes) {
  return {{"type", "graph"},
          {"nodes",
           {{{"name", "conv"}, {"type", "conv2d"}, {"in", 3}, {"out", 4}, {"kernel", 3}, {"stride", 4}, {"pad", 1}},
            {{"name", "bn"}, {"type", "batch_norm"}, {"channels", 4}},
            {{"name", "act"}, {"type", "lsq"}, {"bits", 3}, {"step", 0.2}},
            {{"name", "pool"}, {"type", "global_avg_pool"}},
            {{"name", "drop"}, {"type", "dropout"}, {"p", 0.5}},
            {{"name", "fc"}, {"type", "linear"}, {"in", 4}, {"out", classes}}}}};
}

/// Saves an untrained teacher whose config says what `data` says.
void write_teacher(const std::string& path, int classes = kClasses, const Json& data = {{"type", "embedded"}},
                   uint64_t seed = 3, const Json& more = Json::object()) {
  const Json model = teacher_model(classes);
  const Graph graph = build_model(Config(model));
  graph.initialize(seed);
  // Nearly uniform outputs would hide an error of the temperature.
  for (float& w : graph.node("fc").layer->facts().gemm->weight.mutable_data<float>()) w *= 10;
  Json config = {{"model", model}, {"data", data}};
  config.update(more);
  save_checkpoint(path, graph, config);
}

std::vector<double> log_softmax(std::span<const float> logits, double temperature) {
  std::vector<double> values;
  double sum = 0;
  for (const float z : logits) sum += std::exp(static_cast<double>(z) / temperature);
  for (const float z : logits) values.push_back(static_cast<double>(z) / temperature - std::log(sum));
  return values;
}

/// Loss of a batch, and its derivative by the student's logits, by the formula in double.
struct ByHand {
  double loss = 0;
  std::vector<double> gradient;
};

ByHand by_hand(const Tensor& student, const Tensor& teacher, const Tensor& labels, const TeacherOptions& options) {
  const int64_t rows = student.dim(0);
  const double t = options.temperature, hard = options.combine == "sum" ? 1 : 1 - options.weight;
  ByHand result;
  for (int64_t row = 0; row < rows; ++row) {
    const auto at = [row](const Tensor& logits) {
      return logits.data<float>().subspan(static_cast<size_t>(row * kClasses), kClasses);
    };
    const auto plain = log_softmax(at(student), 1), ours = log_softmax(at(student), t),
               theirs = log_softmax(at(teacher), t);
    const auto label = static_cast<size_t>(labels.data<int32_t>()[static_cast<size_t>(row)]);
    double soft = 0;
    for (size_t k = 0; k < kClasses; ++k) {
      soft -= std::exp(theirs[k]) * ours[k];
      const double of_labels = std::exp(plain[k]) - (k == label ? 1 : 0);
      const double of_teacher = (std::exp(ours[k]) - std::exp(theirs[k])) / t;
      result.gradient.push_back((hard * of_labels + options.weight * t * t * of_teacher) / static_cast<double>(rows));
    }
    result.loss += (hard * -plain[label] + options.weight * t * t * soft) / static_cast<double>(rows);
  }
  return result;
}

Batch some_batch(int64_t size = 6) {
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < size; ++i) labels.push_back(static_cast<int32_t>(i * 3 % kClasses));
  return {test::normal_tensor({size, 32, 32, 3}, 11), Tensor::from<int32_t>({size}, std::span<const int32_t>(labels)),
          0};
}

std::string error_of(const Config& config) {
  try {
    const RunConfig run = read_run_config(config);
    load_teacher(run, build_parts(run));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TrainOutcome train(const Config& config, const std::string& folder, bool resume = false, int64_t stop_at = -1) {
  std::ostringstream out, err;
  Console console{out, err, false};
  Progress progress{console};
  TrainRequest request{read_run_config(config), {folder}, resume, {}};
  if (stop_at >= 0) request.stop = [stop_at](int64_t step) { return step >= stop_at; };
  return Trainer(request, progress).run();
}

/// Everything in a run's last checkpoint but the clock time.
std::map<std::string, std::string> final_state(const std::string& folder) {
  std::map<std::string, std::string> state;
  for (const auto& [name, tensor] : read_safetensors(folder + "/last.safetensors").tensors) {
    std::string bytes(reinterpret_cast<const char*>(tensor.raw()), tensor.bytes());
    if (name == "train/sums") bytes.resize(bytes.size() - sizeof(double));
    state[name] = bytes;
  }
  return state;
}

}  // namespace

TEST_CASE("teacher: a step's loss and update follow the formula") {
  const test::Scratch folder("teacher");
  write_teacher(folder / "t.safetensors");
  for (const char* section : {R"({})", R"({"temperature": 3, "weight": 0.25})", R"({"combine": "sum", "weight": 1})",
                              R"({"combine": "sum", "weight": 2.5, "temperature": 0.5})", R"({"weight": 1})"}) {
    CAPTURE(section);
    Config config = student_config(folder / "t.safetensors");
    config.json["loss"]["teacher"].update(Json::parse(section));
    const RunConfig run = read_run_config(config);
    const RunParts parts = build_parts(run);
    attach_optimizer(parts, run);
    const Batch batch = some_batch();
    const Graph alone = load_checkpoint(folder / "t.safetensors").graph;
    const Tensor theirs = alone.forward(batch.images, {Mode::eval}), ours = parts.graph.forward(batch.images, {});
    const ByHand expected = by_hand(ours, theirs, batch.labels, *parts.teacher);

    const Tensor bias = parameters_of(parts.graph)[1].tensor, before = bias.clone();
    TrainStep step(parts.graph, parts.optimizer, run.loss, load_teacher(run, parts));
    TrainClock clock;
    clock.lr = 1;
    Rng rng(1);
    CHECK(step.run(batch, clock, rng).loss == doctest::Approx(expected.loss).epsilon(1e-5));
    // The first step of SGD takes off the gradient; that of the bias is the sum over the batch.
    for (size_t k = 0; k < kClasses; ++k) {
      double gradient = 0;
      for (size_t row = 0; row < 6; ++row) gradient += expected.gradient[row * kClasses + k];
      CHECK(static_cast<double>(before.data<float>()[k] - bias.data<float>()[k]) ==
            doctest::Approx(gradient).epsilon(1e-4));
    }
  }
}

TEST_CASE("teacher: it is evaluated, never trained, and takes its memory from the pool") {
  const test::Scratch folder("teacher-eval");
  write_teacher(folder / "t.safetensors");
  const RunConfig run = read_run_config(student_config(folder / "t.safetensors"));
  const RunParts parts = build_parts(run);
  attach_optimizer(parts, run);
  const auto teacher = load_teacher(run, parts);
  const int64_t before = teacher->fingerprint();
  TrainStep step(parts.graph, parts.optimizer, run.loss, teacher);
  const Batch batch = some_batch();
  TrainClock clock;
  clock.lr = 0.1;
  Rng rng(1);
  int64_t allocations = 0;
  for (clock.step = 0; clock.step < 6; ++clock.step) {
    step.run(batch, clock, rng);
    if (clock.step == 1) allocations = allocator_stats().system_allocations;
  }
  CHECK(allocator_stats().system_allocations == allocations);
  // Batch norm in training mode would have moved its statistics, dropout would have advanced the generator.
  CHECK(teacher->fingerprint() == before);
  CHECK(rng.position() == Rng(1).position());
  CHECK_FALSE(teacher->logits(batch.images).requires_grad());
  CHECK(teacher->logits(batch.images).node() == nullptr);
}

TEST_CASE("teacher: the fingerprint tells networks apart") {
  const test::Scratch folder("teacher-print");
  const auto print_of = [&](uint64_t seed, const Json& act) {
    Json model = teacher_model(kClasses);
    model["nodes"][2].update(act);
    const Graph graph = build_model(Config(model));
    graph.initialize(seed);
    return Teacher(graph, {}).fingerprint();
  };
  const int64_t one = print_of(1, Json::object());
  CHECK(print_of(1, Json::object()) == one);
  CHECK(print_of(2, Json::object()) != one);
  CHECK(print_of(1, {{"step", 0.25}}) != one);
  CHECK(print_of(1, {{"bits", 4}}) != one);
}

TEST_CASE("teacher: errors name the place in the config, what was expected and what was found") {
  const test::Scratch folder("teacher-errors");
  const std::string path = folder / "t.safetensors";
  const auto lacks = [](const std::string& text, std::initializer_list<const char*> parts) -> std::string {
    for (const char* part : parts)
      if (text.find(part) == std::string::npos) return concat_text("'", text, "' lacks '", part, "'");
    return "";
  };
  const auto with = [&](const std::string& assignment) {
    Config config = student_config(path);
    set_option(config, assignment);
    return error_of(config);
  };
  write_teacher(path);
  CHECK(error_of(student_config(path)) == "no error");
  CHECK(lacks(with("/loss/teacher/weigth=1"), {"/loss/teacher/weigth", "did you mean 'weight'?"}) == "");
  CHECK(lacks(with("/loss/teacher/weight=1.5"), {"student.json", "/loss/teacher/weight", "1.5"}) == "");
  CHECK(lacks(with("/loss/teacher/weight=-1"), {"/loss/teacher/weight", "-1"}) == "");
  CHECK(lacks(with("/loss/teacher/temperature=0"), {"/loss/teacher/temperature"}) == "");
  CHECK(lacks(with("/loss/teacher/combine=both"), {"/loss/teacher/combine", "both"}) == "");
  CHECK(lacks(with("/loss/teacher={}"), {"/loss/teacher", "checkpoint"}) == "");
  CHECK(lacks(with("/loss/teacher=7"), {"/loss/teacher"}) == "");
  CHECK(lacks(with("/loss/teacher/checkpoint=nowhere"), {"/loss/teacher/checkpoint", "nowhere"}) == "");
  CHECK(lacks(with("/data/mean=[0.1,0.2,0.3]"), {"/loss/teacher/checkpoint", "mean [0.5,0.5,0.5]", "[0.1,0.2,0.3]"}) ==
        "");
  CHECK(lacks(with("/data/std=[0.5,0.5,0.25]"), {"/loss/teacher/checkpoint", "std", "0.25"}) == "");

  write_teacher(path, 7);
  CHECK(lacks(error_of(student_config(path)), {"/loss/teacher/checkpoint", "[1,7]", "10 classes"}) == "");
  write_teacher(path, kClasses, nullptr);
  CHECK(lacks(error_of(student_config(path)), {"/loss/teacher/checkpoint", "normalised"}) == "");
  write_teacher(path, kClasses, {{"type", "embedded"}}, 3, {{"class_names", {"somewhere", "else"}}});
  CHECK(lacks(error_of(student_config(path)), {"/loss/teacher/checkpoint", "class 0", "somewhere"}) == "");
  write_safetensors(path, TensorFile{});
  CHECK_THROWS_WITH_AS(error_of(student_config(path)), doctest::Contains(path.c_str()), Error);
}

TEST_CASE("teacher: one that puts out no numbers is named") {
  Graph graph = build_model(Config(teacher_model(kClasses)));
  graph.initialize(1);
  graph.node("fc").layer->facts().gemm->weight.mutable_data<float>()[0] = INFINITY;
  TeacherOptions options;
  options.checkpoint = "some/teacher";
  CHECK_THROWS_WITH_AS(Teacher(graph, options).logits(some_batch().images), doctest::Contains("some/teacher"),
                       NotFinite);
}

TEST_CASE("teacher: a run goes on with it bit for bit, and with no other") {
  const test::Scratch folder("teacher-resume");
  const std::string path = folder / "t.safetensors";
  write_teacher(path);
  const Config config = student_config(path);
  train(config, folder / "whole");
  for (const int64_t stop : {1, 6, 8}) {
    CAPTURE(stop);
    const std::string run = folder / ("stopped" + std::to_string(stop));
    CHECK(train(config, run, false, stop).interrupted);
    CHECK_FALSE(train(config, run, true).interrupted);
    CHECK(final_state(run) == final_state(folder / "whole"));
  }
  Config without = config;
  without.json["loss"]["teacher"] = nullptr;
  train(without, folder / "without");
  CHECK(final_state(folder / "without")["fc.weight"] != final_state(folder / "whole")["fc.weight"]);

  CHECK(train(config, folder / "moved", false, 3).interrupted);
  CHECK_THROWS_AS(train(without, folder / "moved", true), UsageError);
  // The same network elsewhere will do.
  write_teacher(folder / "copy.safetensors");
  train(student_config(folder / "copy.safetensors"), folder / "moved", true);
  CHECK(final_state(folder / "moved") == final_state(folder / "whole"));
  CHECK(train(config, folder / "other", false, 3).interrupted);
  write_teacher(path, kClasses, {{"type", "embedded"}}, 4);
  CHECK_THROWS_WITH_AS(train(config, folder / "other", true), doctest::Contains("another teacher"), UsageError);
}

TEST_CASE("teacher: a run's folder stands for its last checkpoint") {
  const test::Scratch folder("teacher-folder");
  write_teacher(folder / "t.safetensors");
  train(student_config(folder / "t.safetensors"), folder / "first");
  CHECK_NOTHROW(train(student_config(folder / "first"), folder / "second"));
}

}  // namespace nibble
