#include "core/tape.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <utility>

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
template <class Fn>
Fn observed(std::string_view name, std::span<const Tensor> inputs, Fn fn) {
  return [place = profile::place(), op = std::string(name), bytes = bytes_of(inputs),
          fn = std::move(fn)](const auto&... dy) {
    profile::Span span(profile::backward_of(place.stage), op, place.layer);
    Grads grads = fn(dy...);
    if (span) {
      const Tensor arrived[] = {dy...};
      const Tensor& any = std::ranges::find_if(arrived, &Tensor::defined)[0];
      span.note({.bytes = bytes + bytes_of(arrived) + bytes_of(grads), .shapes = concat_text(any.shape())});
    }
    return grads;
  };
}

/// A node of that op without its backward function.
std::shared_ptr<TapeNode> new_node(std::string_view name, std::span<const Tensor> inputs) {
  auto node = std::make_shared<TapeNode>();
  node->name = name;
  for (const Tensor& input : inputs) node->inputs.emplace_back(input);
  node->order = next_order.fetch_add(1, std::memory_order_relaxed);
  return node;
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

/// An op and the gradients of its outputs.
struct Arrived {
  std::shared_ptr<TapeNode> node;
  Tensor dy, dsecond;
};

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
    Arrived& entry = waiting_[target.node->order];
    entry.node = target.node;
    Tensor& held = target.second ? entry.dsecond : entry.dy;
    held = held.defined() ? accumulate(std::move(held), gradient) : std::move(gradient);
  }

  bool empty() const { return waiting_.empty(); }

  Arrived pop() {
    auto last = std::prev(waiting_.end());
    Arrived result = std::move(last->second);
    waiting_.erase(last);
    return result;
  }

 private:
  std::map<uint64_t, Arrived> waiting_;
};

/// Runs an op backwards and releases its closure.
Grads run_backward(TapeNode& node, const Tensor& dy, const Tensor& dsecond) {
  NIBBLE_CHECK(node.backward || node.pair_backward, "backward: '", node.name,
               "' has been run backwards already; record it again");
  const BackwardFn fn = std::exchange(node.backward, nullptr);
  const PairBackwardFn pair = std::exchange(node.pair_backward, nullptr);
  return pair ? pair(dy, dsecond) : fn(dy);
}

}  // namespace

NoRecord::NoRecord() : before_(recording) { recording = false; }
NoRecord::~NoRecord() { recording = before_; }

GradTarget::GradTarget(const Tensor& input) {
  if (!input.requires_grad()) return;
  shape = input.shape();
  node = input.node();
  if (node == nullptr) leaf = input;
  if (node != nullptr && node->second_of != nullptr) {
    second = true;
    node = node->second_of;
  }
}

bool would_record(std::initializer_list<Tensor> inputs) { return recording && any_requires_grad(inputs); }

Tensor record(std::string_view name, Tensor y, std::span<const Tensor> inputs, BackwardFn fn) {
  if (!recording || !any_requires_grad(inputs)) return y;
  auto node = new_node(name, inputs);
  node->backward = profile::on() ? observed(name, inputs, std::move(fn)) : std::move(fn);
  y.set_requires_grad();
  y.set_node(std::move(node));
  return y;
}

Tensor record(std::string_view name, Tensor y, std::initializer_list<Tensor> inputs, BackwardFn fn) {
  return record(name, std::move(y), std::span<const Tensor>(inputs.begin(), inputs.size()), std::move(fn));
}

void record_pair(std::string_view name, Tensor first, Tensor second, std::initializer_list<Tensor> inputs,
                 PairBackwardFn fn) {
  if (!would_record(inputs)) return;
  const std::span<const Tensor> all(inputs.begin(), inputs.size());
  auto node = new_node(name, all), other = std::make_shared<TapeNode>();
  node->pair_backward = profile::on() ? observed(name, all, std::move(fn)) : std::move(fn);
  other->second_of = node;
  first.set_requires_grad();
  first.set_node(std::move(node));
  second.set_requires_grad();
  second.set_node(std::move(other));
}

void backward(const Tensor& loss, const GradientWatch& watch) {
  NIBBLE_CHECK(loss.numel() == 1, "backward: needs a one-element tensor, got shape ", loss.shape());
  NIBBLE_CHECK(loss.requires_grad(), "backward: nothing that led to this tensor requires a gradient");
  const NoRecord off;
  Pending pending;
  pending.deliver(GradTarget(loss), Tensor::full(loss.shape(), 1.0f));
  while (!pending.empty()) {
    auto [node, dy, dsecond] = pending.pop();
    if (watch && dy.defined()) watch(node->name, dy);
    if (watch && dsecond.defined()) watch(node->name, dsecond);
    const std::vector<GradTarget> inputs = std::exchange(node->inputs, {});
    Grads grads = run_backward(*node, dy, dsecond);
    dy = dsecond = {};
    NIBBLE_CHECK(grads.size() == inputs.size(), "backward: '", node->name, "' returned ", grads.size(),
                 " gradients for ", inputs.size(), " inputs");
    for (size_t i = 0; i < inputs.size(); ++i) {
      const bool wanted = inputs[i].node != nullptr || inputs[i].leaf.defined();
      if (grads[i].defined() && wanted) pending.deliver(inputs[i], std::move(grads[i]));
    }
  }
}

}  // namespace nibble
