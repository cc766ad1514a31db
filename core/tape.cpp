#include "core/tape.h"

#include <algorithm>
#include <atomic>
#include <map>

#include "core/parallel.h"
#include "core/profile.h"

namespace nibble {

namespace {

thread_local bool recording = true;
std::atomic<uint64_t> next_order{1};

bool any_requires_grad(std::span<const Tensor> inputs) {
  return std::ranges::any_of(inputs, [](const Tensor& t) { return t.requires_grad(); });
}

double bytes_of(std::span<const Tensor> tensors) {
  double bytes = 0;
  for (const Tensor& t : tensors)
    if (t.defined()) bytes += static_cast<double>(t.bytes());
  return bytes;
}

/// `fn` in a span of the layer that is running now. Its bytes are those of an op that reads its inputs again.
BackwardFn observed(std::string_view name, std::span<const Tensor> inputs, BackwardFn fn) {
  return [place = profile::place(), op = std::string(name), bytes = bytes_of(inputs),
          fn = std::move(fn)](const Tensor& dy) {
    profile::Span span(profile::backward_of(place.stage), op, place.layer);
    Grads grads = fn(dy);
    if (span)
      span.note(
          {.bytes = bytes + static_cast<double>(dy.bytes()) + bytes_of(grads), .shapes = concat_text(dy.shape())});
    return grads;
  };
}

/// a + b, in a's storage where nobody else holds it.
Tensor accumulate(Tensor a, const Tensor& b) {
  profile::Span span(profile::Stage::backward, "sum_gradients");
  if (span) span.note({.bytes = 3.0 * static_cast<double>(a.bytes()), .shapes = concat_text(a.shape())});
  const Tensor sum = a.unique() ? a : Tensor::empty_like(a);
  const float* pa = a.data<float>().data();
  const float* pb = b.data<float>().data();
  float* out = sum.mutable_data<float>().data();
  parallel_for(0, a.numel(), 1 << 14, [=](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) out[i] = pa[i] + pb[i];
  });
  return sum;
}

/// Gradients on their way to the ops that made the tensors; the newest op comes first.
class Pending {
 public:
  void deliver(const GradTarget& target, Tensor gradient) {
    NIBBLE_CHECK(gradient.shape() == target.shape, "backward: gradient of shape ", gradient.shape(),
                 " for a tensor of shape ", target.shape);
    if (target.node == nullptr) {
      const Tensor& old = target.leaf.grad();
      if (!old.defined()) {
        target.leaf.set_grad(std::move(gradient));
      } else {
        Tensor held = old;
        target.leaf.set_grad({});
        target.leaf.set_grad(accumulate(std::move(held), gradient));
      }
      return;
    }
    auto& entry = waiting_[target.node->order];
    entry.node = target.node;
    entry.gradient = entry.gradient.defined() ? accumulate(std::move(entry.gradient), gradient) : std::move(gradient);
  }

  bool empty() const { return waiting_.empty(); }

  std::pair<std::shared_ptr<TapeNode>, Tensor> pop() {
    auto last = std::prev(waiting_.end());
    std::pair<std::shared_ptr<TapeNode>, Tensor> result{std::move(last->second.node), std::move(last->second.gradient)};
    waiting_.erase(last);
    return result;
  }

 private:
  struct Entry {
    std::shared_ptr<TapeNode> node;
    Tensor gradient;
  };
  std::map<uint64_t, Entry> waiting_;
};

}  // namespace

NoRecord::NoRecord() : before_(recording) { recording = false; }
NoRecord::~NoRecord() { recording = before_; }

GradTarget::GradTarget(const Tensor& input) {
  if (!input.requires_grad()) return;
  shape = input.shape();
  node = input.node();
  if (node == nullptr) leaf = input;
}

bool would_record(std::initializer_list<Tensor> inputs) { return recording && any_requires_grad(inputs); }

Tensor record(std::string_view name, Tensor y, std::span<const Tensor> inputs, BackwardFn fn) {
  if (!recording || !any_requires_grad(inputs)) return y;
  auto node = std::make_shared<TapeNode>();
  node->name = name;
  for (const Tensor& input : inputs) node->inputs.emplace_back(input);
  node->backward = profile::on() ? observed(name, inputs, std::move(fn)) : std::move(fn);
  node->order = next_order.fetch_add(1, std::memory_order_relaxed);
  y.set_requires_grad();
  y.set_node(std::move(node));
  return y;
}

Tensor record(std::string_view name, Tensor y, std::initializer_list<Tensor> inputs, BackwardFn fn) {
  return record(name, std::move(y), std::span<const Tensor>(inputs.begin(), inputs.size()), std::move(fn));
}

void backward(const Tensor& loss, const GradientWatch& watch) {
  NIBBLE_CHECK(loss.numel() == 1, "backward: needs a one-element tensor, got shape ", loss.shape());
  NIBBLE_CHECK(loss.requires_grad(), "backward: nothing that led to this tensor requires a gradient");
  const NoRecord off;
  Pending pending;
  pending.deliver(GradTarget(loss), Tensor::full(loss.shape(), 1.0f));
  while (!pending.empty()) {
    auto [node, dy] = pending.pop();
    NIBBLE_CHECK(node->backward, "backward: '", node->name, "' has been run backwards already; record it again");
    if (watch) watch(node->name, dy);
    const BackwardFn fn = std::move(node->backward);
    node->backward = nullptr;
    const std::vector<GradTarget> inputs = std::move(node->inputs);
    node->inputs.clear();
    Grads grads = fn(dy);
    dy = {};
    NIBBLE_CHECK(grads.size() == inputs.size(), "backward: '", node->name, "' returned ", grads.size(),
                 " gradients for ", inputs.size(), " inputs");
    for (size_t i = 0; i < inputs.size(); ++i) {
      const bool wanted = inputs[i].node != nullptr || inputs[i].leaf.defined();
      if (grads[i].defined() && wanted) pending.deliver(inputs[i], std::move(grads[i]));
    }
  }
}

}  // namespace nibble
