#include "apps/train_step.h"

#include <bit>
#include <cmath>

#include "apps/evaluate.h"
#include "core/ops.h"
#include "core/profile.h"
#include "core/tape.h"
#include "layers/fuse.h"

namespace nibble {

bool all_finite(const Tensor& tensor) {
  if (!tensor.defined() || tensor.dtype() != DType::f32) return true;
  constexpr uint32_t kExponent = 0x7f800000;  // all ones: infinity or NaN
  uint32_t bad = 0;
  for (const float value : tensor.data<float>()) bad |= (std::bit_cast<uint32_t>(value) & kExponent) == kExponent;
  return bad == 0;
}

void check_state_finite(const Graph& graph) {
  for (const NamedTensor& named : state_of(graph))
    if (!all_finite(named.tensor))
      throw NotFinite(concat_text(named.is_param ? "parameter '" : "buffer '", named.name, "' is not finite"));
}

TrainStep::TrainStep(Graph graph, std::shared_ptr<Optimizer> optimizer, const LossOptions& options,
                     std::shared_ptr<const Teacher> teacher, bool fused)
    : graph_(std::move(graph)),
      running_(fused ? fuse(graph_).graph : graph_),
      optimizer_(std::move(optimizer)),
      class_loss_(options),
      auxiliary_(static_cast<float>(options.auxiliary)),
      teacher_(std::move(teacher)) {}

StepResult TrainStep::run(const Batch& batch, const TrainClock& clock, Rng& rng) {
  const profile::Span span(profile::Stage::other, "step");
  const Rng rng_before = rng;
  zero_grads(optimizer_->params());
  StepResult result;
  {
    // First, so that its activations are gone when the student's pile up.
    const Tensor wanted = ask_teacher(batch.images);
    const std::vector<Tensor> outputs = running_.forward_all(batch.images, {Mode::train, &rng, clock.step, &clock});
    const Tensor& logits = outputs.front();
    const Tensor loss = loss_of(outputs, wanted, batch.labels);
    result.loss = static_cast<double>(loss.item());
    if (!std::isfinite(result.loss))
      throw NotFinite(concat_text("the loss is ", std::isnan(result.loss) ? "nan" : "inf", "; ",
                                  first_bad_output(batch, clock, rng_before)));
    EvalResult counted;
    count_correct(counted, logits, batch.labels);
    result.correct = counted.correct;
    backward(loss);
  }
  check_gradients();
  update(clock.lr);
  return result;
}

Tensor TrainStep::ask_teacher(const Tensor& images) const {
  if (!teacher_) return {};
  const profile::Span span(profile::Stage::forward, "teacher", "teacher");
  return teacher_->logits(images);
}

Tensor TrainStep::loss_of(const std::vector<Tensor>& outputs, const Tensor& wanted, const Tensor& labels) const {
  const profile::Span span(profile::Stage::loss, class_loss_.name());
  Tensor loss = class_loss_(outputs.front(), labels);
  if (teacher_) loss = teacher_->combine(loss, outputs.front(), wanted);
  return add_auxiliary(loss, outputs, labels);
}

void TrainStep::check_gradients() const {
  const profile::Span span(profile::Stage::other, "check_gradients");
  // The backward pass visits the layers from the last to the first, so the last bad one is where it began.
  const auto& params = optimizer_->params();
  for (size_t i = params.size(); i-- > 0;)
    if (!all_finite(params[i].tensor.grad())) throw NotFinite("the gradient of '" + params[i].name + "' is not finite");
}

void TrainStep::update(double lr) const {
  {
    const profile::Span span(profile::Stage::optimizer, "update");
    optimizer_->step(lr);
  }
  const profile::Span span(profile::Stage::optimizer, "after_update");
  for (const Node& node : graph_.nodes()) node.layer->after_update();
}

Tensor TrainStep::add_auxiliary(Tensor loss, const std::vector<Tensor>& outputs, const Tensor& labels) const {
  if (auxiliary_ == 0) return loss;
  for (size_t i = 1; i < outputs.size(); ++i) {
    NIBBLE_CHECK(outputs[i].shape() == outputs[0].shape(), "loss: output '", graph_.outputs()[i], "' has the shape ",
                 outputs[i].shape(), " and is no auxiliary classifier, whose shape is that of the first output, ",
                 outputs[0].shape(), "; \"auxiliary\": 0 leaves it out of the loss");
    loss = add(loss, scale(class_loss_(outputs[i], labels), auxiliary_));
  }
  return loss;
}

std::string TrainStep::first_bad_output(const Batch& batch, const TrainClock& clock, Rng rng) const {
  if (!all_finite(batch.images)) return "the images of the batch are not finite";
  const NoRecord no_record;
  std::string found;
  graph_.forward(batch.images, {Mode::train, &rng, clock.step, &clock}, [&](const Node& node, const Tensor& y) {
    if (found.empty() && !all_finite(y))
      found = concat_text("the first output that is not finite is that of layer '", node.name, "' (",
                          node.layer->type(), ")");
  });
  return found.empty() ? "every layer's output is finite, so it arose in the loss itself" : found;
}

}  // namespace nibble
