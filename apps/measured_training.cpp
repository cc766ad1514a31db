#include "apps/measured_training.h"

#include "apps/noise.h"
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

}  // namespace nibble
