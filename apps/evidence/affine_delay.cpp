#include <cstdio>

#include "apps/evidence/short_run.h"

namespace nibble {

namespace {

struct Outcome {
  std::vector<double> losses;
  EvalResult test;
};

Outcome train_with(int64_t delay, const StudyRequest& request, Progress& progress) {
  const Json weight{{"type", "affine"}, {"bits", request.bits}};
  const Json act{{"type", "affine"}, {"bits", request.bits}, {"delay", delay}};
  ShortRun run(request, all_but_ends(weight, act),
               {{"type", "sgd"}, {"lr", 0.1}, {"momentum", 0.9}, {"weight_decay", 1e-4}});
  Outcome outcome;
  const std::string label = delay > 0 ? "with delay" : "without delay";
  outcome.losses = run.train(label, progress);
  outcome.test = run.test(label + ": test", progress);
  return outcome;
}

Json row_of(const std::string& name, const Outcome& o) {
  Json row = Json::array({name});
  for (const double mean : curve_means(o.losses, 5)) row.push_back(mean);
  row.push_back(o.test.loss());
  row.push_back(o.test.top1());
  return row;
}

Json run_study(const StudyRequest& request, Progress& progress) {
  const int64_t delay = std::max<int64_t>(1, request.steps * 3 / 5);
  const Outcome with = train_with(delay, request, progress), without = train_with(0, request, progress);
  NIBBLE_CHECK(!with.losses.empty() && !without.losses.empty(), "evidence: the first step's loss was not finite");
  const std::vector<double> later = curve_means(with.losses, 5), at_once = curve_means(without.losses, 5);
  Json result;
  result["delay"] = delay;
  result["with"] = {{"losses", with.losses}, {"test_top1", with.test.top1()}, {"test_loss", with.test.loss()}};
  result["without"] = {
      {"losses", without.losses}, {"test_top1", without.test.top1()}, {"test_loss", without.test.loss()}};
  // Only what comes after the delay compares like with like: there both are quantized.
  result["holds"] = at_once[4] > later[4] && without.test.loss() > with.test.loss();
  char text[300];
  std::snprintf(
      text, sizeof text,
      "Loss in the first fifth %.3f without delay against %.3f with it, in the last, where both are quantized, "
      "%.3f against %.3f; test top-1 %.2f %% against %.2f %%.",
      at_once[0], later[0], at_once[4], later[4], without.test.top1(), with.test.top1());
  result["finding"] = text;
  result["tables"] = Json::array(
      {{{"title", concat_text("Mean training loss of each fifth of the steps; the delay ends after step ", delay)},
        {"columns", {"activations quantized", "loss 1/5", "2/5", "3/5", "4/5", "5/5", "test loss", "top-1"}},
        {"rows", Json::array({row_of(concat_text("after ", delay, " steps"), with), row_of("at once", without)})}}});
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
      "Two trainings from the same random start on the same images with affine weights and activations, first and last "
      "layer in float; one quantizes activations only after a delay, in which their ranges are collected.";
  study.steps = 400;
  study.bits = 8;
  study.least_bits = 4;
  study.run = run_study;
  return study;
}

}  // namespace nibble
