#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/evaluate.h"
#include "apps/evidence/study.h"
#include "apps/run_parts.h"
#include "apps/train_step.h"

namespace nibble {

/// The first steps of a training: a quantized network, images in the order that the seed fixes, a constant learning
/// rate. Two runs with the same request differ in nothing but what they are given.
class ShortRun {
 public:
  /// `rules` is a "quant" section, `optim` an "optim" section. Starts from the request's checkpoint, or from its
  /// model with parameters drawn from the seed. Throws UsageError if checkpoint, rules and data do not fit.
  ShortRun(const StudyRequest& request, const Json& rules, const Json& optim);

  /// One training step on the next images. Throws NotFinite.
  StepResult step();
  /// All steps of the request with a progress bar; returns the loss of each, fewer where one was not finite.
  std::vector<double> train(const std::string& label, Progress& progress);
  /// The network as it evaluates, on all test images.
  EvalResult test(const std::string& label, Progress& progress) const;
  const Graph& graph() const { return graph_; }
  /// The first images of the test set.
  Batch test_batch() const;

 private:
  std::unique_ptr<Loader> loader(Split split) const;

  StudyRequest request_;
  Graph graph_;
  std::shared_ptr<DataSource> source_;
  std::shared_ptr<Optimizer> optimizer_;
  std::unique_ptr<TrainStep> step_;
  std::unique_ptr<Loader> images_;
  Rng rng_;
  int64_t done_ = 0, epoch_ = 0;
};

/// {"match": "conv1|linear"} real, everything else {"weight": weight, "act": act}: how CIFAR-10 networks are quantized.
Json all_but_ends(const Json& weight, const Json& act);

/// The layers of a graph whose weight has a quantizer.
struct QuantizedLayer {
  std::string name;
  std::shared_ptr<Layer> layer;
  std::string act;  ///< node of its activation quantizer, "" if there is none
  Tensor weight;
};
std::vector<QuantizedLayer> quantized_layers(const Graph& graph);

}  // namespace nibble
