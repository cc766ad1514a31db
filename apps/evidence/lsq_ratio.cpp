#include <cmath>
#include <cstdio>
#include <map>

#include "apps/evidence/short_run.h"
#include "apps/median.h"
#include "layers/weight_slot.h"

namespace nibble {

namespace {

/// One learned step: R = (|dL/ds| / s) / (|dL/dw| / |w|) with w the weight of its layer (LSQ, eq. 4).
struct Step {
  std::string layer, kind;  ///< "weight" or "act"
  Tensor step, weight;
  double n = 0, top = 0;                  ///< N and Q_P of the gradient scale
  double step_norm = 0, weight_norm = 0;  ///< before the update
  double sum = 0;                         ///< of R by the gradient as it arrived
  int64_t count = 0;

  double mean() const { return count > 0 ? sum / static_cast<double>(count) : 0; }
};

double norm(const Tensor& x) {
  double sum = 0;
  for (const float v : x.data<float>()) sum += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(sum);
}

double highest_code(const Layer& quantizer) {
  const Json options = quantizer.config();
  const int bits = options["bits"].get<int>();
  return std::ldexp(1.0, options["signed"].get<bool>() ? bits - 1 : bits) - 1;
}

std::vector<Step> steps_of(const ShortRun& run) {
  std::map<std::string, Tensor> params;
  for (const NamedTensor& named : parameters_of(run.graph())) params[named.name] = named.tensor;
  std::map<std::string, double> features;  // of one sample, at every node
  const Tensor images = run.test_batch().images;
  run.graph().forward(images, {}, [&](const Node& node, const Tensor& y) {
    features[node.name] = static_cast<double>(y.numel()) / static_cast<double>(images.dim(0));
  });
  std::vector<Step> steps;
  for (const QuantizedLayer& layer : quantized_layers(run.graph())) {
    Step weight{layer.name, "weight", params.at(layer.name + ".weight_quantizer.step"), layer.weight};
    weight.n = static_cast<double>(layer.weight.numel());
    weight.top = highest_code(*layer.layer->weight_slot()->get());
    steps.push_back(weight);
    if (layer.act.empty()) continue;
    Step act{layer.name, "act", params.at(layer.act + ".step"), layer.weight};
    act.n = features.at(layer.act);
    act.top = highest_code(*run.graph().node(layer.act).layer);
    steps.push_back(act);
  }
  return steps;
}

struct RatioRun {
  std::vector<Step> steps;
  std::vector<double> losses;
};

/// Trains with one of LSQ's gradient scales and gathers R. The first step is left out, since steps are set in it.
RatioRun train_with(const std::string& scale, const StudyRequest& request, Progress& progress) {
  const Json lsq{{"type", "lsq"}, {"bits", request.bits}, {"scale", scale}};
  ShortRun run(request, all_but_ends(lsq, lsq),
               {{"type", "sgd"}, {"lr", 0.01}, {"momentum", 0.9}, {"weight_decay", 1e-4}});
  RatioRun result{steps_of(run), {}};
  progress.start("scale " + scale, request.steps);
  try {
    for (int64_t t = 0; t < request.steps; ++t) {
      for (Step& step : result.steps) {
        step.step_norm = norm(step.step);
        step.weight_norm = norm(step.weight);
      }
      result.losses.push_back(run.step().loss);
      progress.update(t + 1, concat_text("loss ", result.losses.back()));
      if (t == 0) continue;
      for (Step& step : result.steps) {
        const double change = norm(step.weight.grad()) / step.weight_norm;
        if (!(change > 0)) continue;
        step.sum += norm(step.step.grad()) / step.step_norm / change;
        ++step.count;
      }
    }
  } catch (const NotFinite& error) {
    progress.line(concat_text("scale ", scale, ": stopped after ", result.losses.size(), " steps: ", error.what()));
  }
  progress.clear();
  return result;
}

/// R by the unscaled gradient, with 1/sqrt(N), and with the full scale and a tenth and ten times of it.
Json scaled_ratios(double raw, const Step& step) {
  const double n = 1 / std::sqrt(step.n), full = 1 / std::sqrt(step.n * step.top);
  return Json::array({raw, raw * n, raw * full, raw * full * 10, raw * full / 10});
}

double median_of(const std::vector<Step>& steps, const std::string& kind, bool scaled_back) {
  std::vector<double> values;
  for (const Step& step : steps)
    if (step.kind == kind) values.push_back(step.mean() * (scaled_back ? std::sqrt(step.n * step.top) : 1));
  return median(values);
}

Json layer_table(const std::vector<Step>& steps) {
  Json rows = Json::array();
  for (const char* kind : {"weight", "act"}) {
    std::vector<std::vector<double>> columns(5);
    for (const Step& step : steps) {
      if (step.kind != kind) continue;
      Json row = Json::array({step.layer, kind});
      const Json ratios = scaled_ratios(step.mean() * std::sqrt(step.n * step.top), step);
      for (size_t k = 0; k < ratios.size(); ++k) {
        row.push_back(ratios[k]);
        columns[k].push_back(ratios[k].get<double>());
      }
      rows.push_back(row);
    }
    Json row = Json::array({"**median**", kind});
    for (const auto& column : columns) row.push_back(median(column));
    rows.push_back(row);
  }
  return {{"title", "R of every step, trained with the full scale, evaluated with each (mean over the steps)"},
          {"columns", {"layer", "step of", "1", "1/√N", "1/√(N Q_P)", "10/√(N Q_P)", "0.1/√(N Q_P)"}},
          {"rows", rows}};
}

Json loss_row(const char* name, const RatioRun& run, int64_t wanted) {
  Json row = Json::array({name, median_of(run.steps, "weight", false), median_of(run.steps, "act", false)});
  for (const double mean : curve_means(run.losses, 4)) row.push_back(mean);
  row.push_back(static_cast<int64_t>(run.losses.size()) < wanted
                    ? Json("not finite after " + std::to_string(run.losses.size()))
                    : Json("yes"));
  return row;
}

Json run_study(const StudyRequest& request, Progress& progress) {
  const RatioRun with = train_with("n_qp", request, progress), without = train_with("none", request, progress);
  const double scaled = median_of(with.steps, "weight", false), plain = median_of(with.steps, "weight", true);
  const double scaled_act = median_of(with.steps, "act", false), plain_act = median_of(with.steps, "act", true);
  Json result;
  // The paper's figure is of the weights' steps.
  result["holds"] = scaled > 0.1 && scaled < 10 && plain > 10 && plain >= 10 * scaled;
  char text[300];
  std::snprintf(text, sizeof text,
                "Median R with the gradient scale: %.3g (weights), %.3g (activations); without it: %.3g and %.3g.",
                scaled, scaled_act, plain, plain_act);
  result["finding"] = text;
  result["medians"] = {{"weight", {{"with", scaled}, {"without", plain}}},
                       {"act", {{"with", scaled_act}, {"without", plain_act}}}};
  result["tables"] = Json::array(
      {layer_table(with.steps),
       {{"title", "Trained with either scale: R by its own gradients, and the mean loss of each quarter of the steps"},
        {"columns", {"scale", "R weights", "R activations", "loss 1/4", "2/4", "3/4", "4/4", "finite"}},
        {"rows", Json::array({loss_row("1/√(N Q_P)", with, request.steps), loss_row("1", without, request.steps)})}}});
  return result;
}

}  // namespace

Study lsq_ratio_study() {
  Study study;
  study.name = "lsq-ratio";
  study.claim =
      "LSQ (section 3.4): with the gradient scale 1/√(N Q_P) the relative change of a step size is about that of its "
      "weights (R near 1); without it, it is orders of magnitude larger.";
  study.setup =
      "Two trainings from a float checkpoint with LSQ, first and last layer in float: one with the full scale, whose "
      "gradients also give R for the scales of table 3, and one without any. R = (|∇s L| / s) / (‖∇w L‖ / ‖w‖), for "
      "activation steps with the weight of their layer.";
  study.steps = 500;
  study.bits = 2;
  study.least_bits = 2;
  study.start = Study::Start::checkpoint;
  study.run = run_study;
  return study;
}

}  // namespace nibble
