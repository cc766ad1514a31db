#include "apps/measured_training.h"

#include <chrono>
#include <optional>

#include "apps/noise.h"
#include "core/allocator.h"
#include "core/parallel.h"

namespace nibble {
namespace {

constexpr int64_t kStepsPerEpoch = 1000;  // the images, and with them the true number, need not be there

}  // namespace

MeasuredTraining::MeasuredTraining(const RunConfig& config, bool keep_threads)
    : parts_(build_parts(config)), total_steps_(kStepsPerEpoch * config.train.epochs) {
  if (config.train.threads > 0 && !keep_threads) set_threads(config.train.threads);
  attach_optimizer(parts_, config);
  step_ = std::make_unique<TrainStep>(parts_.graph, parts_.optimizer, config.loss, load_teacher(config, parts_),
                                      config.train.fuse);
}

void MeasuredTraining::step(const Batch& batch) {
  constexpr double kRate = 1e-4;
  const Clock now{done_++, kStepsPerEpoch, total_steps_};
  const Phase phase = parts_.rate->phase(now);
  step_->run(batch, {now.step, now.total_steps, phase.index, phase.count, kRate, parts_.rate->share(now)}, rng_);
}

std::vector<Batch> MeasuredTraining::noise(int64_t size, int count) const {
  const auto classes = static_cast<uint32_t>(parts_.source->classes());
  std::vector<Batch> batches;
  Rng rng(1);
  for (int k = 0; k < count; ++k) {
    Batch batch{noise_images(parts_.graph.input_shape(), size, rng), Tensor::empty(Shape{size}, DType::i32), k};
    for (int32_t& label : batch.labels.mutable_data<int32_t>()) label = static_cast<int32_t>(rng.next_below(classes));
    batches.push_back(std::move(batch));
  }
  return batches;
}

StepTimes time_steps(MeasuredTraining& training, const std::function<Batch()>& next, int64_t count, int64_t warm_up,
                     const std::string& label, Progress& progress, StepProfile* steps) {
  StepTimes times;
  int64_t before = 0;
  std::optional<profile::Recorder> recorder;
  if (steps) recorder.emplace();
  progress.start(label, count + warm_up);
  for (int64_t i = 0; i < count + warm_up; ++i) {
    if (i == warm_up) before = allocator_stats().system_allocations;
    if (recorder) recorder->clear();
    const auto begin = std::chrono::steady_clock::now();
    training.step(next());
    const double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (i >= warm_up) {
      times.seconds.push_back(taken);
      if (steps) steps->add(recorder->events());
    }
    progress.update(i + 1, "");
  }
  progress.clear();
  times.system_allocations = allocator_stats().system_allocations - before;
  return times;
}

}  // namespace nibble
