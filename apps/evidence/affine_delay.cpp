#include <cstdio>

#include "apps/evidence/short_run.h"

namespace nibble {

namespace {

constexpr int kSeeds = 5;
constexpr size_t kParts = 5, kDelayed = 3;  ///< the curve is shown in fifths; the delay lasts for three of them

/// Five convolutions with batch norm: small enough for several seeds.
Json small_network() {
  Json nodes = Json::array();
  int in = 3;
  for (int layer = 1; layer <= 5; ++layer) {
    const std::string number = std::to_string(layer);
    const int out = layer == 1 ? 16 : layer == 2 ? 32 : 64;
    nodes.push_back({{"name", "conv" + number},
                     {"type", "conv2d"},
                     {"in", in},
                     {"out", out},
                     {"kernel", 3},
                     {"stride", layer <= 3 ? 2 : 1},
                     {"pad", 1},
                     {"bias", false}});
    nodes.push_back({{"name", "bn" + number}, {"type", "batch_norm"}, {"channels", out}});
    nodes.push_back({{"name", "relu" + number}, {"type", "relu"}});
    in = out;
  }
  nodes.push_back({{"name", "pool"}, {"type", "global_avg_pool"}});
  nodes.push_back({{"name", "linear"}, {"type", "linear"}, {"in", in}, {"out", 10}});
  return {{"type", "graph"}, {"input", {32, 32, 3}}, {"nodes", nodes}};
}

/// Weights, activations behind every layer and folded batch norms as the paper has them.
Json paper_rules(int bits, int64_t delay) {
  return Json::array({{{"match", "*"},
                       {"place", "outputs"},
                       {"fold_batch_norm", {{"mode", "plain"}}},
                       {"weight", {{"type", "affine"}, {"bits", bits}}},
                       {"act", {{"type", "affine"}, {"bits", bits}, {"delay", delay}}}}});
}

/// What one way of training came to, over all seeds.
struct Outcome {
  std::vector<double> curve = std::vector<double>(kParts, 0.0);  ///< mean loss of each part
  std::vector<double> early;                                     ///< of each seed: mean loss in the time of the delay
  double test_loss = 0, top1 = 0;
};

void add_seed(const StudyRequest& request, int64_t delay, Outcome& outcome, Progress& progress) {
  ShortRun run(request, paper_rules(request.bits, delay),
               {{"type", "sgd"}, {"lr", 0.02}, {"momentum", 0.9}, {"weight_decay", 1e-4}});
  const std::string label = concat_text("seed ", request.seed, delay > 0 ? " with delay" : " without delay");
  const std::vector<double> losses = run.train(label, progress);
  NIBBLE_CHECK(static_cast<int64_t>(losses.size()) == request.steps, "evidence: ", label,
               ": the loss was not finite after ", losses.size(), " steps");
  const std::vector<double> means = curve_means(losses, kParts);
  double early = 0;
  for (size_t p = 0; p < kParts; ++p) {
    outcome.curve[p] += means[p] / kSeeds;
    if (p < kDelayed) early += means[p] / kDelayed;
  }
  outcome.early.push_back(early);
  const EvalResult test = run.test(label + ": test", progress);
  outcome.test_loss += test.loss() / kSeeds;
  outcome.top1 += test.top1() / kSeeds;
}

Json row_of(const std::string& name, const Outcome& o) {
  Json row = Json::array({name});
  for (const double mean : o.curve) row.push_back(mean);
  row.push_back(o.test_loss);
  row.push_back(o.top1);
  return row;
}

Json summary(const Outcome& o) {
  return {{"losses", o.curve}, {"early_losses", o.early}, {"test_loss", o.test_loss}, {"test_top1", o.top1}};
}

Json run_study(const StudyRequest& request, Progress& progress) {
  const int64_t delay = std::max<int64_t>(1, request.steps * static_cast<int64_t>(kDelayed) / kParts);
  Outcome with, without;
  Json seeds = Json::array();
  int worse = 0;
  double difference = 0;
  for (int k = 0; k < kSeeds; ++k) {
    StudyRequest one = request;
    one.model = small_network();
    one.seed = request.seed + static_cast<uint64_t>(k);
    add_seed(one, delay, with, progress);
    add_seed(one, 0, without, progress);
    const double more = without.early.back() - with.early.back();
    worse += more > 0;
    difference += more / kSeeds;
    seeds.push_back({std::to_string(one.seed), with.early.back(), without.early.back(), more});
  }
  Json result{{"delay", delay}, {"with", summary(with)}, {"without", summary(without)}};
  result["holds"] = difference > 0 && worse >= kSeeds - 1;
  char text[400];
  std::snprintf(text, sizeof text,
                "Over the %lld steps of the delay the loss is %.3f higher without it, higher with %d of %d seeds. In "
                "the last fifth, where both are quantized, it is %.3f without against %.3f with, and on the test set "
                "%.2f %% against %.2f %% are right.",
                static_cast<long long>(delay), difference, worse, kSeeds, without.curve.back(), with.curve.back(),
                without.top1, with.top1);
  result["finding"] = text;
  result["tables"] = Json::array(
      {{{"title", "Mean training loss of each fifth of the steps, over all seeds"},
        {"columns", {"activations quantized", "loss 1/5", "2/5", "3/5", "4/5", "5/5", "test loss", "top-1"}},
        {"rows", Json::array({row_of(concat_text("after ", delay, " steps"), with), row_of("at once", without)})}},
       {{"title", concat_text("Mean training loss of the first ", delay, " steps")},
        {"columns", {"seed", "with delay", "without", "difference"}},
        {"rows", seeds}}});
  return result;
}

}  // namespace

Study affine_delay_study() {
  Study study;
  study.name = "affine-delay";
  study.claim =
      "Integer-arithmetic-only inference (section 3.1): activations should not be quantized while their ranges still "
      "shift early in training.";
  study.setup =
      "Pairs of trainings from the same random start on the same images, with affine weights and activations and batch "
      "norm folded as in the paper; one of each pair quantizes activations only after a delay, in which their ranges "
      "are "
      "collected. The network is small (five convolutions), so that five seeds can be run.";
  study.steps = 300;
  study.bits = 8;
  study.least_bits = 4;
  study.start = Study::Start::random;
  study.run = run_study;
  return study;
}

}  // namespace nibble
