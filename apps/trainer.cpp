#include "apps/trainer.h"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <set>

#include "apps/machine.h"
#include "apps/trained_model.h"
#include "core/file.h"
#include "core/parallel.h"
#include "layers/checkpoint.h"
#include "layers/describe.h"
#include "layers/model.h"
#include "quant/policy.h"

namespace nibble {
namespace {

constexpr const char* kTeacher = "train/teacher";  ///< fingerprint of the teacher that the run began with
constexpr uint64_t kRngStream = 0x747261696e;      ///< of the layers' random numbers, apart from all other streams

template <class... Values>
std::string format(const char* pattern, Values... values) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

Loader::Options loader_options(const RunConfig& config, const DataOptions& data, bool train, Progress& progress) {
  Loader::Options options;
  options.batch = train ? data.batch : data.eval_batch;
  options.workers = data.workers;
  options.prefetch = data.prefetch;
  options.train = train;
  options.seed = config.seed;
  options.notice = [&progress](const std::string& text) { progress.line(text); };
  return options;
}

std::unique_ptr<Ema> make_ema(const Ema::Options& options, const Graph& graph) {
  std::vector<Ema::Source> sources;
  for (const NamedTensor& named : state_of(graph)) sources.push_back({named.name, named.tensor, !named.is_param});
  return std::make_unique<Ema>(options, std::move(sources));
}

/// Names of parameters and buffers.
std::set<std::string> names_of(const Graph& graph) {
  std::set<std::string> names;
  for (const NamedTensor& named : state_of(graph)) names.insert(named.name);
  return names;
}

TensorFile file_of(const Graph& graph) {
  TensorFile file;
  for (const NamedTensor& named : state_of(graph)) file.tensors.emplace_back(named.name, named.tensor);
  return file;
}

}  // namespace

Trainer::Trainer(const TrainRequest& request, Progress& progress)
    : request_(request), progress_(progress), parts_(build_parts(request.config)) {
  const RunConfig& config = request_.config;
  if (config.train.threads > 0) set_threads(config.train.threads);
  config_ = resolved_config(config, parts_);
  if (request_.resume && request_.run.has_config()) request_.run.check_agrees(config_);

  const DataOptions& data = parts_.source->options();
  parts_.source->keep_lists_in((std::filesystem::path(request_.run.path).parent_path() / ".image-lists").string());
  const auto images = parts_.source->open(Split::train);
  if (images->size() < data.batch)
    config.data.fail(
        concat_text("a batch of ", data.batch, " is larger than the ", images->size(), " training images"));
  train_ = std::make_unique<Loader>(*parts_.source, images, loader_options(config, data, true, progress_));
  test_ = std::make_unique<Loader>(*parts_.source, parts_.source->open(Split::test),
                                   loader_options(config, data, false, progress_));
  steps_per_epoch_ = train_->batches_per_epoch();
  checkpoint_config_ = config_;
  checkpoint_config_["class_names"] = parts_.source->class_names();

  state_.rng = Rng(config.seed, kRngStream);
  attach_optimizer(parts_, config);
  const bool resuming = request_.resume && request_.run.has_last();
  if (!config.train.init.empty() && !resuming) start_from(config.train.init);
  if (parts_.ema) ema_ = make_ema(*parts_.ema, parts_.graph);
  const auto teacher = load_teacher(config, parts_);
  if (teacher) teacher_fingerprint_ = teacher->fingerprint();
  step_ = std::make_unique<TrainStep>(parts_.graph, parts_.optimizer, config.loss, teacher, config.train.fuse);
  open_directory();
}

void Trainer::start_from(const std::string& checkpoint) {
  const RunConfig& config = request_.config;
  const TrainedModel model = load_trained(checkpoint);
  Graph start = model.graph;
  // A float checkpoint knows nothing of the quantizers and of folded batch norm: they are put into it as into our
  // graph.
  Graph real = build_model(config.model);
  if (!config.quant.json.is_null() && names_of(real) == names_of(start)) {
    load_state(real, file_of(start), checkpoint);
    start = quantize(real, config.quant);
  }
  load_state(parts_.graph, file_of(start), checkpoint);
}

void Trainer::open_directory() {
  const RunDirectory& run = request_.run;
  const bool resuming = request_.resume && run.has_last();
  if (resuming) {
    restore();
  } else if (request_.resume) {
    progress_.line("no checkpoint to resume in '" + run.path + "': starting from the beginning");
    make_directories(run.path);
  } else {
    run.create();
  }
  write_file_atomically(run.config(), json_text(config_));
  write_machine();
  cut_metrics(run.metrics(), resuming ? state_.step : -1, state_.batch > 0);
  metrics_ = std::make_unique<MetricsLog>(run.metrics());
  events_ = std::make_unique<EventWriter>(run.path, state_.step);
  if (resuming)
    progress_.line(concat_text("resumed '", run.path, "' at step ", state_.step, " (epoch ", state_.epoch + 1, ", ",
                               state_.batch, " of ", steps_per_epoch_, " batches done)"));
}

void Trainer::restore() {
  const std::string path = request_.run.last();
  const TensorFile file = read_safetensors(path);
  load_state(parts_.graph, file, path);
  state_ = TrainState::from(file, path);
  NIBBLE_CHECK(state_.batch <= steps_per_epoch_, path, ": is at batch ", state_.batch, " of an epoch that has ",
               steps_per_epoch_);
  const Tensor* teacher = file.find(kTeacher);
  if (teacher_fingerprint_) {
    NIBBLE_CHECK(teacher != nullptr && teacher->dtype() == DType::i64 && teacher->numel() == 1, path,
                 ": cannot resume from it: tensor '", kTeacher, "' (one i64 value) is missing");
    if (teacher->data<int64_t>()[0] != *teacher_fingerprint_)
      request_.config.loss.teacher.at("checkpoint")
          .fail("cannot resume '" + request_.run.path +
                "' with another teacher: this is not the network it began with");
  }
  const auto take = [&](const std::string& prefix) {
    return [&file, &path, prefix](const std::string& name, Tensor& tensor) {
      const Tensor* saved = file.find(prefix + name);
      NIBBLE_CHECK(saved != nullptr, path, ": cannot resume from it: tensor '", prefix, name, "' is missing");
      NIBBLE_CHECK(saved->shape() == tensor.shape() && saved->dtype() == tensor.dtype(), path, ": tensor '", prefix,
                   name, "' expects ", name_of(tensor.dtype()), " ", tensor.shape(), ", found ",
                   name_of(saved->dtype()), " ", saved->shape());
      tensor.copy_from(*saved);
    };
  };
  parts_.optimizer->visit_state(take("train/optim/"));
  if (ema_) ema_->visit_state(take("train/ema/"));
}

void Trainer::write_machine() const {
  Json json = machine_info();
  json["seed"] = request_.config.seed;
  write_file_atomically(request_.run.machine(), json_text(json));
}

double Trainer::total_seconds() const { return state_.seconds + seconds_since(begin_); }

TrainOutcome Trainer::run() {
  const int epochs = request_.config.train.epochs, every = request_.config.train.eval_every;
  std::optional<Evaluation> evaluation;
  try {
    while (state_.epoch < epochs) {
      const auto begin = Timer::now();
      if (!finish_epoch_steps()) return interrupt();
      const double seconds = seconds_since(begin);
      const bool last = state_.epoch + 1 == epochs;
      evaluation.reset();
      if (last || (state_.epoch + 1) % every == 0) {
        evaluation = evaluate_epoch();
        if (!evaluation) return interrupt();
      }
      close_epoch(evaluation ? &*evaluation : nullptr, seconds);
      if (last || state_.epoch % request_.config.train.checkpoint_every == 0) save_last();
    }
  } catch (const NotFinite& error) {
    fail_not_finite(error.what());
  }
  // A run resumed when it was already complete has nothing evaluated yet.
  if (!evaluation) evaluation = evaluate_epoch();
  if (!evaluation) return interrupt();
  progress_.clear();
  write_machine();
  const Json json = results(*evaluation);
  write_file_atomically(request_.run.results(), json_text(json));
  return {false, state_.step, json};
}

TrainClock Trainer::train_clock() const {
  const Clock now = clock();
  const Phase phase = parts_.rate->phase(now);
  return {now.step, now.total_steps, phase.index, phase.count, parts_.rate->at(now), parts_.rate->share(now)};
}

bool Trainer::finish_epoch_steps() {
  const TrainOptions& options = request_.config.train;
  progress_.start(concat_text("epoch ", state_.epoch + 1, "/", options.epochs), steps_per_epoch_, state_.batch,
                  (options.epochs - state_.epoch - 1) * steps_per_epoch_);
  auto logged = Timer::now();
  int64_t images = 0;
  train_->start(state_.epoch, state_.batch);
  for (Batch batch; state_.batch < steps_per_epoch_ && train_->next(batch);) {
    const TrainClock now = train_clock();
    const double lr = now.lr;
    if (now.phase > 0 && parts_.rate->phase(clock()).begin == now.step) parts_.optimizer->reset_state();
    const StepResult result = step_->run(batch, now, state_.rng);
    if (ema_) ema_->update();
    ++state_.step;
    ++state_.batch;
    state_.loss_sum += result.loss;
    state_.correct += result.correct;
    state_.images += batch.labels.numel();
    images += batch.labels.numel();
    const double seconds = seconds_since(logged);
    progress_.update(state_.batch,
                     format("%.0f images/s  lr %.4g  loss %.3f  train %.1f %%", static_cast<double>(images) / seconds,
                            lr, state_.loss_sum / static_cast<double>(state_.batch),
                            100.0 * static_cast<double>(state_.correct) / static_cast<double>(state_.images)));
    if (options.log_every > 0 && state_.step % options.log_every == 0) {
      log_step(result, lr, images, seconds);
      images = 0;
      logged = Timer::now();
    }
    if (stopped()) return false;
    // The epoch's end writes its own checkpoint.
    if (options.checkpoint_every_steps > 0 && state_.step % options.checkpoint_every_steps == 0 &&
        state_.batch < steps_per_epoch_)
      save_last();
  }
  NIBBLE_CHECK(state_.batch == steps_per_epoch_, "train: the data ended at batch ", state_.batch, " of ",
               steps_per_epoch_);
  return true;
}

void Trainer::log_step(const StepResult& step, double lr, int64_t images, double seconds) {
  const double rate = static_cast<double>(images) / seconds;
  metrics_->write({{"kind", "step"},
                   {"step", state_.step},
                   {"epoch", state_.epoch + 1},
                   {"loss", step.loss},
                   {"lr", lr},
                   {"images_per_second", rate}});
  events_->add(state_.step, {{"step/loss", step.loss}, {"step/lr", lr}, {"step/images_per_second", rate}});
}

std::optional<EvalResult> Trainer::evaluate_once(const std::string& label) {
  progress_.start(label, test_->samples());
  return evaluate(parts_.graph, *test_, [this](int64_t images) {
    progress_.update(images, "");
    return !stopped();
  });
}

std::optional<Trainer::Evaluation> Trainer::evaluate_epoch() {
  Evaluation evaluation;
  const auto live = evaluate_once("test");
  if (!live) return std::nullopt;
  evaluation.live = *live;
  if (ema_) {
    const EmaScope averaged(*ema_);
    evaluation.average = evaluate_once("test (average)");
    if (!evaluation.average) return std::nullopt;
  }
  return evaluation;
}

void Trainer::close_epoch(const Evaluation* evaluation, double seconds) {
  ++state_.epoch;
  const double train_loss = state_.loss_sum / static_cast<double>(state_.batch);
  const double train_top1 = 100.0 * static_cast<double>(state_.correct) / static_cast<double>(state_.images);
  Json line = {{"kind", "epoch"},
               {"step", state_.step},
               {"epoch", state_.epoch},
               {"train_loss", train_loss},
               {"train_top1", train_top1}};
  Scalars scalars = {{"train/loss", train_loss}, {"train/top1", train_top1}};
  std::string text = format("epoch %lld/%d  train loss %.4f  top-1 %.2f %%", static_cast<long long>(state_.epoch),
                            request_.config.train.epochs, train_loss, train_top1);
  const auto put = [&](const std::string& name, const EvalResult& result) {
    line[name + "_loss"] = result.loss();
    line[name + "_top1"] = result.top1();
    line[name + "_top5"] = result.top5();
    scalars.emplace_back(name + "/loss", result.loss());
    scalars.emplace_back(name + "/top1", result.top1());
    text += format("  %s loss %.4f  top-1 %.2f %%", name.c_str(), result.loss(), result.top1());
  };
  if (evaluation != nullptr) {
    put("test", evaluation->live);
    if (evaluation->average) put("ema", *evaluation->average);
  }
  line["seconds"] = seconds;
  metrics_->write(line);
  events_->add(state_.step, scalars);
  progress_.line(text + format("  %.1f s", seconds));
  state_.batch = 0;
  state_.loss_sum = 0;
  state_.correct = state_.images = 0;
  if (evaluation != nullptr && evaluation->chosen().top1() > state_.best_top1) {
    state_.best_top1 = evaluation->chosen().top1();
    state_.best_epoch = state_.epoch;
    save_best(evaluation->chosen());
  }
}

void Trainer::save_last() {
  check_state_finite(parts_.graph);
  TrainState state = state_;
  state.seconds = total_seconds();
  auto extra = state.tensors();
  if (teacher_fingerprint_)
    extra.emplace_back(kTeacher, Tensor::from<int64_t>(Shape{1}, std::span(&*teacher_fingerprint_, 1)));
  const auto put = [&extra](const std::string& prefix) {
    return [&extra, prefix](const std::string& name, Tensor& tensor) { extra.emplace_back(prefix + name, tensor); };
  };
  parts_.optimizer->visit_state(put("train/optim/"));
  if (ema_) ema_->visit_state(put("train/ema/"));
  save_checkpoint(request_.run.last(), parts_.graph, checkpoint_config_, extra);
}

void Trainer::save_best(const EvalResult& result) {
  Json config = checkpoint_config_;
  config["best"] = result.json();
  config["best"]["epoch"] = state_.epoch;
  std::optional<EmaScope> averaged;
  if (ema_) averaged.emplace(*ema_);
  save_checkpoint(request_.run.best(), parts_.graph, config);
}

TrainOutcome Trainer::interrupt() {
  progress_.clear();
  save_last();
  return {true, state_.step, Json()};
}

void Trainer::fail_not_finite(const std::string& what) const {
  const std::string last = request_.run.last();
  std::string kept = "no checkpoint had been written yet";
  if (request_.run.has_last())
    kept = concat_text("the last good checkpoint is ", last, " (step ",
                       TrainState::from(read_safetensors(last), last).step, ")");
  throw NotFinite(
      concat_text("training stopped at step ", state_.step + 1, " (epoch ", state_.epoch + 1, "): ", what, "; ", kept));
}

Json Trainer::results(const Evaluation& evaluation) const {
  int64_t parameters = 0, macs = 0;
  for (const NodeInfo& node : describe(parts_.graph)) {
    parameters += node.parameters;
    macs += node.macs;
  }
  const double seconds = total_seconds();
  Json json = {{"name", request_.config.name},
               {"run", request_.run.path},
               {"model", request_.config.model.type()},
               {"parameters", parameters},
               {"macs", macs},
               {"epochs", request_.config.train.epochs},
               {"steps", state_.step},
               {"seconds", seconds},
               {"seed", request_.config.seed}};
  json.update(evaluation.chosen().json());
  if (evaluation.average) json["without_ema"] = evaluation.live.json();
  json["best_top1"] = state_.best_top1;
  json["best_epoch"] = state_.best_epoch;
  json["last"] = request_.run.last();
  json["best"] = request_.run.best();
  json["machine"] = machine_info();
  return json;
}

}  // namespace nibble
