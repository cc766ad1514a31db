#include "apps/evidence/short_run.h"

#include "apps/trained_model.h"
#include "layers/model.h"
#include "layers/weight_slot.h"
#include "quant/policy.h"

namespace nibble {

namespace {

constexpr uint64_t kRngStream = 0x65766964;  ///< of the layers' random numbers, apart from all other streams

/// CIFAR-10 as the networks of this project see it.
Json default_data() {
  return {{"type", "cifar10"},
          {"batch", 128},
          {"augment", {"pad_crop", "flip"}},
          {"mean", {0.485, 0.456, 0.406}},
          {"std", {0.229, 0.224, 0.225}}};
}

/// The checkpoint's images, always augmented, or what --data names: also a registered source by its bare name.
Config data_section(const Config& checkpoint, const std::string& text) {
  Config base = checkpoint;
  if (!base.contains("data")) base.json["data"] = default_data();
  base.json["data"]["augment"] = default_data()["augment"];
  const bool is_source = Registry<DataSource>::get().entries().contains(text);
  return choose_data(base, is_source ? Json{{"type", text}, {"batch", 128}}.dump() : text);
}

}  // namespace

Json all_but_ends(const Json& weight, const Json& act) {
  return Json::array({{{"match", "conv1|linear"}, {"weight", nullptr}, {"act", nullptr}},
                      {{"match", "*"}, {"weight", weight}, {"act", act}}});
}

std::vector<QuantizedLayer> quantized_layers(const Graph& graph) {
  std::vector<QuantizedLayer> layers;
  for (const Node& node : graph.nodes()) {
    WeightSlot* slot = node.layer->weight_slot();
    if (slot == nullptr || slot->empty()) continue;
    QuantizedLayer found{node.name, node.layer, node.name + ".act", {}};
    if (!graph.contains(found.act)) found.act.clear();
    layers.push_back(found);
  }
  for (const NamedTensor& named : parameters_of(graph))
    for (QuantizedLayer& layer : layers)
      if (named.name == layer.name + ".weight") layer.weight = named.tensor;
  return layers;
}

ShortRun::ShortRun(const StudyRequest& request, const Json& rules, const Json& optim)
    : request_(request), rng_(request.seed, kRngStream) {
  Config about{Json::object(), "evidence"};
  Graph real;
  if (request.init.empty()) {
    const Json fallback{{"type", "resnet20"}, {"classes", 10}, {"shortcut", "A"}};
    real = build_model(Config(request.model.is_null() ? fallback : request.model, "evidence"));
    real.initialize(request.seed);
  } else {
    TrainedModel model = load_trained(request.init);
    real = std::move(model.graph);
    about = model.config;
  }
  graph_ = quantize(real, Config(rules, "evidence", "/quant"));
  const Config section = data_section(about, request.data_text);
  source_ = build_source(section);
  check_fits(graph_, *source_, section);
  optimizer_ = Registry<Optimizer>::get().make(Config(optim, "evidence", "/optim"));
  std::vector<Param> params;
  for (const NamedTensor& named : parameters_of(graph_))
    params.push_back({named.name, named.tensor, named.traits.decay, named.traits.lr_factor, named.traits.mask});
  optimizer_->attach(std::move(params));
  step_ = std::make_unique<TrainStep>(graph_, optimizer_, LossOptions{});
}

std::unique_ptr<Loader> ShortRun::loader(Split split) const {
  const DataOptions& data = source_->options();
  Loader::Options options;
  options.batch = split == Split::train ? data.batch : data.eval_batch;
  options.workers = data.workers;
  options.prefetch = data.prefetch;
  options.train = split == Split::train;
  options.seed = request_.seed;
  return std::make_unique<Loader>(*source_, source_->open(split), options);
}

StepResult ShortRun::step() {
  if (!images_) {
    images_ = loader(Split::train);
    images_->start(0);
  }
  Batch batch;
  while (!images_->next(batch)) images_->start(++epoch_);
  const double lr = optimizer_->base_lr();
  const TrainClock clock{
      .step = done_, .total_steps = request_.steps, .lr = lr, .lr_share = 1.0 / static_cast<double>(request_.steps)};
  ++done_;
  return step_->run(batch, clock, rng_);
}

std::vector<double> ShortRun::train(const std::string& label, Progress& progress) {
  std::vector<double> losses;
  progress.start(label, request_.steps);
  try {
    while (done_ < request_.steps) {
      losses.push_back(step().loss);
      progress.update(done_, concat_text("loss ", losses.back()));
    }
  } catch (const NotFinite& error) {
    progress.line(concat_text(label, ": stopped after ", losses.size(), " steps: ", error.what()));
  }
  progress.clear();
  return losses;
}

EvalResult ShortRun::test(const std::string& label, Progress& progress) const {
  const std::unique_ptr<Loader> images = loader(Split::test);
  progress.start(label, images->samples());
  const auto result = evaluate(graph_, *images, [&](int64_t done) {
    progress.update(done, "");
    return true;
  });
  progress.clear();
  return *result;
}

Batch ShortRun::test_batch() const {
  const std::unique_ptr<Loader> images = loader(Split::test);
  images->start(0);
  Batch batch;
  images->next(batch);
  return batch;
}

}  // namespace nibble
