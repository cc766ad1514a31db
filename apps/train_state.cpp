#include "apps/train_state.h"

#include <bit>

#include "core/error.h"

namespace nibble {
namespace {

Tensor integers(std::initializer_list<int64_t> values) {
  return Tensor::from<int64_t>(Shape{static_cast<int64_t>(values.size())}, std::span(values.begin(), values.size()));
}

int64_t bits(double value) { return std::bit_cast<int64_t>(value); }
double real(int64_t value) { return std::bit_cast<double>(value); }

std::span<const int64_t> find(const TensorFile& file, const std::string& origin, const std::string& name,
                              int64_t count) {
  const Tensor* tensor = file.find(name);
  NIBBLE_CHECK(tensor != nullptr, origin, ": cannot resume from it: tensor '", name, "' is missing");
  NIBBLE_CHECK(tensor->dtype() == DType::i64 && tensor->numel() == count, origin, ": tensor '", name, "' expects ",
               count, " i64 values, found ", name_of(tensor->dtype()), " ", tensor->shape());
  return tensor->data<int64_t>();
}

}  // namespace

std::vector<std::pair<std::string, Tensor>> TrainState::tensors() const {
  const auto signed_of = [](uint64_t value) { return std::bit_cast<int64_t>(value); };
  return {{"train/step", integers({step})},
          {"train/epoch", integers({epoch})},
          {"train/batch", integers({batch})},
          {"train/rng", integers({signed_of(rng.seed()), signed_of(rng.stream()), signed_of(rng.position())})},
          {"train/sums", integers({bits(loss_sum), correct, images, bits(best_top1), best_epoch, bits(seconds)})}};
}

TrainState TrainState::from(const TensorFile& file, const std::string& origin) {
  TrainState state;
  state.step = find(file, origin, "train/step", 1)[0];
  state.epoch = find(file, origin, "train/epoch", 1)[0];
  state.batch = find(file, origin, "train/batch", 1)[0];
  const auto rng = find(file, origin, "train/rng", 3);
  state.rng = Rng(static_cast<uint64_t>(rng[0]), static_cast<uint64_t>(rng[1]));
  state.rng.set_position(static_cast<uint64_t>(rng[2]));
  const auto sums = find(file, origin, "train/sums", 6);
  state.loss_sum = real(sums[0]);
  state.correct = sums[1];
  state.images = sums[2];
  state.best_top1 = real(sums[3]);
  state.best_epoch = sums[4];
  state.seconds = real(sums[5]);
  NIBBLE_CHECK(state.step >= 0 && state.epoch >= 0 && state.batch >= 0, origin,
               ": cannot resume from it: negative position (step ", state.step, ", epoch ", state.epoch, ", batch ",
               state.batch, ")");
  return state;
}

}  // namespace nibble
