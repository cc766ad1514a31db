#include "apps/evidence/study.h"

#include <cmath>

#include "apps/evidence/short_run.h"
#include "apps/median.h"
#include "apps/program.h"
#include "core/file.h"
#include "layers/checkpoint.h"
#include "layers/model.h"
#include "tests/apps/outcome.h"
#include "tests/apps/scratch.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

using test::Outcome;
using test::run;

constexpr const char* kFewImages =
    R"({"type": "embedded", "train": 32, "test": 8, "batch": 4, "eval_batch": 8, "workers": 0})";

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A checkpoint of a small untrained network with the names that the studies' rules know.
std::string write_checkpoint(const test::Scratch& folder) {
  const Json model{{"type", "resnet20"}, {"classes", 10}};
  const Graph graph = build_model(Config(model));
  graph.initialize(4);
  const std::string path = folder / "float.safetensors";
  save_checkpoint(path, graph, {{"model", model}, {"data", Json::parse(kFewImages)}});
  return path;
}

Json result_of(const std::vector<std::string>& args) {
  const Outcome outcome = run(args);
  CAPTURE(outcome.err);
  REQUIRE(outcome.code == 0);
  return Json::parse(outcome.out);
}

}  // namespace

TEST_CASE("evidence: curves are averaged in stretches, and a median of an even number is the mean of two") {
  CHECK(curve_means({1, 3, 5, 7}, 2) == std::vector<double>{2, 6});
  CHECK(curve_means({1, 2, 6}, 2) == std::vector<double>{1, 4});
  CHECK(curve_means({5}, 3) == std::vector<double>{5, 5, 5});
  CHECK_THROWS_AS(curve_means({}, 2), Error);
  CHECK(median({9, 1, 4}) == 4);
  CHECK(median({9, 1, 4, 2}) == 3);
  CHECK_THROWS_AS(median({}), Error);
}

TEST_CASE("evidence: a result becomes a section with its tables, its verdict and the command that rebuilds it") {
  const Json result{{"study", "a"},
                    {"claim", "Snow is white."},
                    {"setup", "Looked."},
                    {"command", "nibble evidence a"},
                    {"seconds", 1.5},
                    {"machine_line", "one core"},
                    {"holds", false},
                    {"finding", "It was grey."},
                    {"tables",
                     {{{"title", "Colours"},
                       {"columns", {"what", "how much"}},
                       {"rows", Json::array({{"snow", 0.123456}, {"rain", nullptr}, {"hail", 3}})}}}}};
  const std::string text = study_markdown(result);
  CHECK(has(text, "## a\nSnow is white."));
  CHECK(has(text, "Colours:\n\n| what | how much |\n|---|---:|\n| snow | 0.1235 |\n| rain | – |\n| hail | 3 |\n"));
  CHECK(has(text, "**It does not show.** It was grey."));
  CHECK(has(text, "`nibble evidence a`, 1.5 s on one core."));
}

TEST_CASE("evidence: what cannot be run is refused with one line") {
  const auto refused = [](const std::vector<std::string>& args, const std::string& part) {
    const Outcome outcome = run(args);
    CAPTURE(outcome.err);
    return outcome.code == kBadUsage && has(outcome.err, part) && outcome.out.empty();
  };
  CHECK(refused({"evidence"}, "STUDY"));
  CHECK(refused({"evidence", "lsq-rato"}, "did you mean 'lsq-ratio'"));
  CHECK(refused({"evidence", "lsq-ratio"}, "--init"));
  CHECK(refused({"evidence", "affine-delay", "--bits", "3"}, "--bits"));
  CHECK(refused({"evidence", "affine-delay", "--init", "a.safetensors"}, "takes no --init"));
  CHECK(refused({"evidence", "qem", "--steps", "0"}, "--steps"));
  CHECK(run({"evidence", "qem", "--init", "/nowhere/a.safetensors"}).code == kRuntimeFailure);
}

TEST_CASE("evidence: lsq-ratio gives R of every step under every scale, which differ by the scale alone") {
  const test::Scratch folder("evidence-ratio");
  const std::string init = write_checkpoint(folder);
  const Json result = result_of({"evidence", "lsq-ratio", "--init", init, "--steps", "3", "--json"});
  const Json& rows = result["tables"][0]["rows"];
  CHECK(rows.size() == 2 * (18 + 1));
  // layer1.0.conv1's weight: N = 16 * 16 * 9, Q_P = 1 with two bits.
  const Json& row = rows[0];
  CHECK(row[0] == "layer1.0.conv1");
  CHECK(row[1] == "weight");
  const double raw = row[2].get<double>();
  CHECK(raw > 0);
  CHECK(row[3].get<double>() == doctest::Approx(raw / 48));
  CHECK(row[4].get<double>() == doctest::Approx(raw / 48));
  CHECK(row[5].get<double>() == doctest::Approx(raw / 4.8));
  CHECK(row[6].get<double>() == doctest::Approx(raw / 480));
  // The activations in front of it: 32 * 32 * 16 features, Q_P = 3.
  const Json& act = rows[19];
  CHECK(act[0] == "layer1.0.conv1");
  CHECK(act[1] == "act");
  CHECK(act[4].get<double>() == doctest::Approx(act[2].get<double>() / std::sqrt(32 * 32 * 16 * 3.0)));
  CHECK(result["medians"]["weight"]["without"].get<double>() > result["medians"]["weight"]["with"].get<double>());
}

TEST_CASE("evidence: qem and affine-delay tell the same twice, and write where they are told") {
  const test::Scratch folder("evidence-twice");
  for (const std::string study : {"qem", "affine-delay"}) {
    CAPTURE(study);
    const std::vector<std::string> args{"evidence", study, "--data", kFewImages, "--steps", "3", "--json"};
    Json first = result_of(args);
    const std::string path = folder / (study + ".json");
    std::vector<std::string> to_file = args;
    to_file.insert(to_file.end(), {"--out", path});
    CHECK(run(to_file).out.empty());
    Json second = Json::parse(read_text_file(path));
    for (Json* result : {&first, &second})
      for (const char* key : {"seconds", "machine", "machine_line"}) result->erase(key);
    CHECK(first == second);
    CHECK(first["steps"] == 3);
    CHECK(first["holds"].is_boolean());
    CHECK(first["tables"][0]["rows"].size() == (study == "qem" ? 4 : 2));
    CHECK(first["tables"][0]["rows"][0] != first["tables"][0]["rows"][1]);
  }
}

TEST_CASE("evidence: until the delay ends, activations pass as they are") {
  StudyRequest request;
  request.data_text = kFewImages;
  request.steps = 2;
  const auto losses = [&](const Json& act) {
    ShortRun run(request, all_but_ends(nullptr, act), {{"type", "sgd"}, {"lr", 0.1}});
    return std::pair{run.step().loss, run.step().loss};
  };
  const auto real = losses(nullptr), late = losses({{"type", "affine"}, {"bits", 4}, {"delay", 1}});
  CHECK(real.first == late.first);
  CHECK(real.second != late.second);
}

}  // namespace nibble
