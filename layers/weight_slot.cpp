#include "layers/weight_slot.h"

#include "core/profile.h"

namespace nibble {

void WeightSlot::set(const std::shared_ptr<Layer>& layer) {
  NIBBLE_CHECK(layer != nullptr, "weight slot: no layer given");
  auto quantizer = std::dynamic_pointer_cast<Quantizer>(layer);
  NIBBLE_CHECK(quantizer != nullptr, "weight slot: expected a quantizer, got a '", layer->type(), "' layer");
  quantizer_ = std::move(quantizer);
}

void WeightSlot::set(const Config& config) {
  if (config.json.is_null()) return;
  const std::shared_ptr<Layer> layer = Registry<Layer>::get().make(config);
  try {
    set(layer);
  } catch (const Error& error) {
    config.fail(error.what());
  }
}

Config WeightSlot::config() const {
  if (empty()) return Config(nullptr);
  Json json{{"type", quantizer_->type()}};
  json.update(quantizer_->config());
  return Config(std::move(json));
}

Tensor WeightSlot::apply(const Tensor& weight, const Pass& pass) const {
  if (empty()) return weight;
  profile::Span span(profile::Stage::quantizer, quantizer_->type());
  if (span) span.note({.bytes = 2.0 * static_cast<double>(weight.bytes()), .shapes = concat_text(weight.shape())});
  return quantizer_->forward({&weight, 1}, pass);
}

bool WeightSlot::passes_all() const { return empty() || quantizer_->passes_all(); }

Grid WeightSlot::grid(const Tensor& weight) const { return empty() ? Grid{Real{}} : quantizer_->grid(weight); }

void WeightSlot::initialize(const Rng& rng) const {
  if (!empty()) quantizer_->initialize(rng.named("weight_quantizer"));
}

ParamTraits WeightSlot::traits(const Tensor& weight) const {
  if (empty()) return {};
  return {.lr_factor = quantizer_->lr_factor(weight), .mask = quantizer_->mask()};
}

void WeightSlot::after_update(const Tensor& weight) const {
  if (empty()) return;
  quantizer_->after_update();
  quantizer_->constrain(weight);
}

void WeightSlot::visit(StateVisitor& visitor) const {
  if (!empty()) visitor.child("weight_quantizer", *quantizer_);
}

}  // namespace nibble
