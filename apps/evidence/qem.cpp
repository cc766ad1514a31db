#include <cmath>
#include <cstdio>
#include <map>

#include "apps/evidence/short_run.h"
#include "layers/weight_slot.h"

namespace nibble {

namespace {

/// |q - x|^2 / |x|^2; 0 where there is nothing to lose.
double relative_error(const Tensor& q, const Tensor& x) {
  double wrong = 0, all = 0;
  for (size_t i = 0; i < x.data<float>().size(); ++i) {
    const double v = x.data<float>()[i], d = q.data<float>()[i] - v;
    wrong += d * d;
    all += v * v;
  }
  return all > 0 ? wrong / all : 0;
}

struct Outcome {
  std::vector<double> losses;
  EvalResult test;
  double weight_error = 0, act_error = 0;  ///< means over the layers
};

/// Both errors over the quantized layers, on one batch of test images.
void measure_errors(const ShortRun& run, Outcome& outcome) {
  std::map<std::string, Tensor> outputs;
  const Batch batch = run.test_batch();
  outputs["input"] = batch.images;
  run.graph().forward(batch.images, {}, [&](const Node& node, const Tensor& y) { outputs[node.name] = y; });
  double acts = 0;
  const std::vector<QuantizedLayer> layers = quantized_layers(run.graph());
  for (const QuantizedLayer& layer : layers) {
    outcome.weight_error += relative_error(layer.layer->weight_slot()->apply(layer.weight, {}), layer.weight);
    if (layer.act.empty()) continue;
    outcome.act_error += relative_error(outputs.at(layer.act), outputs.at(run.graph().node(layer.act).inputs[0]));
    acts += 1;
  }
  outcome.weight_error /= static_cast<double>(layers.size());
  outcome.act_error /= std::max(acts, 1.0);
}

/// `start` is where the basis begins: at the paper's values for normal data ("normal"), or fitted to the first batch.
Outcome train_with(const std::string& method, const std::string& start, const StudyRequest& request,
                   Progress& progress) {
  const Json lq{{"type", "lq"}, {"bits", request.bits}, {"train", method}, {"init", start}};
  ShortRun run(request, all_but_ends(lq, lq),
               {{"type", "sgd"}, {"lr", 0.02}, {"momentum", 0.9}, {"nesterov", true}, {"weight_decay", 1e-4}});
  Outcome outcome;
  outcome.losses = run.train(method, progress);
  outcome.test = run.test(method + ": test", progress);
  measure_errors(run, outcome);
  return outcome;
}

Json row_of(const std::string& start, const char* name, const Outcome& o) {
  Json row = Json::array({name, start});
  for (const double mean : curve_means(o.losses, 4)) row.push_back(mean);
  for (const double value :
       {curve_means(o.losses, 10).back(), o.test.loss(), o.test.top1(), 100 * o.weight_error, 100 * o.act_error})
    row.push_back(value);
  return row;
}

Json summary(const Outcome& o) {
  return {{"train_loss", curve_means(o.losses, 10).back()},
          {"test_top1", o.test.top1()},
          {"test_loss", o.test.loss()},
          {"weight_error", o.weight_error},
          {"act_error", o.act_error}};
}

Json run_study(const StudyRequest& request, Progress& progress) {
  Json result{{"holds", true}}, rows = Json::array();
  std::string finding;
  for (const std::string start : {"normal", "data"}) {
    const Outcome qem = train_with("qem", start, request, progress), bp = train_with("bp", start, request, progress);
    NIBBLE_CHECK(!qem.losses.empty() && !bp.losses.empty(), "evidence: the first step's loss was not finite");
    const Json refitted = summary(qem), learned = summary(bp);
    const auto value = [](const Json& of, const char* key) { return of[key].get<double>(); };
    const bool better = value(refitted, "train_loss") < value(learned, "train_loss") &&
                        value(refitted, "test_top1") > value(learned, "test_top1");
    result["holds"] = result["holds"].get<bool>() && better;
    result[start] = {{"qem", refitted}, {"bp", learned}};
    rows.push_back(row_of(start, "QEM", qem));
    rows.push_back(row_of(start, "back-propagation", bp));
    char text[300];
    std::snprintf(text, sizeof text,
                  "%sFrom the start \"%s\": training loss over the last tenth %.3f (QEM) against %.3f "
                  "(back-propagation), test top-1 %.2f %% against %.2f %%.",
                  finding.empty() ? "" : " ", start.c_str(), value(refitted, "train_loss"),
                  value(learned, "train_loss"), value(refitted, "test_top1"), value(learned, "test_top1"));
    finding += text;
  }
  result["finding"] = finding;
  result["tables"] =
      Json::array({{{"title",
                     "Mean training loss of each quarter and of the last tenth, test set, and quantization error "
                     "|q - x|² / |x|² in percent (mean over the layers)"},
                    {"columns",
                     {"basis by", "start", "loss 1/4", "2/4", "3/4", "4/4", "last 1/10", "test loss", "top-1",
                      "error w", "error x"}},
                    {"rows", rows}}});
  return result;
}

}  // namespace

Study qem_study() {
  Study study;
  study.name = "qem";
  study.claim =
      "LQ-Nets (table 1): a basis refitted to the data by QEM gives a better network than one trained by "
      "back-propagation.";
  study.setup =
      "Two trainings from the same start, seed and images with LQ-Nets' quantizers, first and last layer in float; "
      "they "
      "differ in how the basis learns.";
  study.steps = 300;
  study.bits = 2;
  study.run = run_study;
  return study;
}

}  // namespace nibble
