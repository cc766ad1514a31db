#include "core/profile.h"

#include <chrono>
#include <utility>

#include "core/error.h"

namespace nibble::profile {
namespace {

thread_local Recorder* current = nullptr;

int64_t clock_now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

}  // namespace

std::string_view name_of(Stage stage) {
  switch (stage) {
    case Stage::data:
      return "data";
    case Stage::forward:
      return "forward";
    case Stage::backward:
      return "backward";
    case Stage::backward_data:
      return "backward-data";
    case Stage::backward_weights:
      return "backward-weights";
    case Stage::quantizer:
      return "quantizer";
    case Stage::quantizer_backward:
      return "quantizer-backward";
    case Stage::loss:
      return "loss";
    case Stage::optimizer:
      return "optimizer";
    case Stage::other:
      return "other";
  }
  return "other";
}

Stage backward_of(Stage stage) {
  if (stage == Stage::forward) return Stage::backward;
  if (stage == Stage::quantizer) return Stage::quantizer_backward;
  return stage;
}

Recorder::Recorder() : start_(clock_now()) {
  NIBBLE_CHECK(current == nullptr, "profile: this thread is being recorded already");
  current = this;
}

Recorder::~Recorder() { current = nullptr; }

void Recorder::clear() {
  NIBBLE_CHECK(open_.empty(), "profile: a recorder cannot be cleared inside the span '", open_.back().event.op, "'");
  events_.clear();
  start_ = clock_now();
}

int64_t Recorder::now() const { return clock_now() - start_; }

bool on() { return current != nullptr; }

Place place() {
  if (current == nullptr || current->open_.empty()) return {};
  const Event& event = current->open_.back().event;
  return {event.layer, event.stage};
}

Span::Span(Stage stage, std::string_view op, std::string_view layer) : recorder_(current) {
  if (recorder_ == nullptr) return;
  auto& open = recorder_->open_;
  Event event;
  event.layer = open.empty() ? "" : open.back().event.layer;
  if (!layer.empty()) event.layer += (event.layer.empty() ? "" : "/") + std::string(layer);
  event.op = op;
  event.stage = stage;
  event.depth = static_cast<int>(open.size());
  index_ = open.size();
  open.push_back({std::move(event)});
  open.back().event.begin = recorder_->now();  // last, so that our own work counts for the span around
}

Span::~Span() {
  if (recorder_ == nullptr) return;
  const int64_t end = recorder_->now();
  auto& open = recorder_->open_;
  Event event = std::move(open.back().event);
  event.end = end;
  event.own = end - event.begin - open.back().inside;
  const bool counted = open.back().counted || event.work.bytes > 0;
  if (open.back().counted) event.work.bytes = 0;
  open.pop_back();
  if (!open.empty()) {
    open.back().inside += end - event.begin;
    open.back().counted |= counted;
  }
  recorder_->events_.push_back(std::move(event));
}

void Span::note(Work work) {
  if (recorder_ != nullptr) recorder_->open_[index_].event.work = std::move(work);
}

}  // namespace nibble::profile
